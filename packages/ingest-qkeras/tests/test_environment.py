"""What is said when TensorFlow, Keras 2 or QKeras are not as they have to be; no framework is needed for it."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from ingest_qkeras import environment
from qonnx_core import InvalidInput, ToolMissing


@pytest.fixture
def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.delenv(environment.LEGACY_KERAS, raising=False)
    return monkeypatch


def test_importing_the_package_imports_no_framework() -> None:
    frameworks = "{'tensorflow', 'keras', 'tf_keras', 'qkeras', 'h5py'}"
    code = f"import sys, ingest_qkeras; print(sorted({frameworks} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_keras_2_is_chosen_before_tensorflow_is_imported(without_tensorflow: pytest.MonkeyPatch) -> None:
    environment.prepare_keras_2()
    assert environment.os.environ[environment.LEGACY_KERAS] == "1"


def test_a_contrary_setting_is_an_error(without_tensorflow: pytest.MonkeyPatch) -> None:
    without_tensorflow.setenv(environment.LEGACY_KERAS, "0")
    with pytest.raises(InvalidInput, match=r"TF_USE_LEGACY_KERAS is '0'; QKeras 0\.9 needs Keras 2"):
        environment.prepare_keras_2()


def test_tensorflow_with_keras_3_is_an_error(without_tensorflow: pytest.MonkeyPatch) -> None:
    tensorflow = ModuleType("tensorflow")
    tensorflow.keras = SimpleNamespace(Model=type("Model", (), {"__module__": "keras.src.models.model"}))  # type: ignore[attr-defined]
    without_tensorflow.setitem(sys.modules, "tensorflow", tensorflow)
    with pytest.raises(
        InvalidInput, match=r"imported with Keras 3 .*Set TF_USE_LEGACY_KERAS=1 before the first import"
    ):
        environment.prepare_keras_2()


def test_tensorflow_with_keras_2_is_fine_whatever_the_variable_says_now(without_tensorflow: pytest.MonkeyPatch) -> None:
    tensorflow = ModuleType("tensorflow")
    tensorflow.keras = SimpleNamespace(Model=type("Model", (), {"__module__": "tf_keras.src.engine.training"}))  # type: ignore[attr-defined]
    without_tensorflow.setitem(sys.modules, "tensorflow", tensorflow)
    environment.prepare_keras_2()


def test_the_owner_of_the_name_qkeras_is_checked() -> None:
    environment.check_owner(("QKeras",))
    with pytest.raises(ToolMissing, match=r"qkeras: not installed.*pip install ingest-qkeras"):
        environment.check_owner(())
    with pytest.raises(
        ToolMissing, match=r"the import name belongs to qkeras-v3; this front end reads models of QKeras 0\.9"
    ):
        environment.check_owner(("qkeras-v3",))
    with pytest.raises(ToolMissing, match="QKeras, HGQ2 are installed together and overwrite each other's files"):
        environment.check_owner(("QKeras", "HGQ2"))


def test_the_owner_found_here_is_qkeras() -> None:
    assert environment.owners_of_qkeras() == ("QKeras",)


def test_a_missing_module_is_named() -> None:
    with pytest.raises(
        ToolMissing, match="no_such_module: cannot be imported, because the module no_such_module is missing"
    ):
        environment._import("no_such_module")
