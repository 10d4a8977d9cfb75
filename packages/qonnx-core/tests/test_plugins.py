"""Plug-ins are found by entry point, loaded on use, and broken ones are named with their distribution."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from qonnx_core import plugins
from qonnx_core.errors import InvalidInput, QonnxError


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def install(name: str, entry_points: str, code: str = "THING = 7") -> None:
        folder = tmp_path / name
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        (folder / f"{name}_module.py").write_text(code)
        monkeypatch.syspath_prepend(str(folder))

    plugins._entries.cache_clear()
    yield install
    plugins._entries.cache_clear()


def test_a_plug_in_is_found_and_loaded_on_use(distribution) -> None:
    distribution("plug_a", "[qonnx_core.passes]\nseven = plug_a_module:THING\n")
    assert "seven" in plugins.names("passes")
    assert "plug_a_module" not in sys.modules
    assert plugins.load("passes", "seven") == 7
    assert plugins.passes()["seven"] == 7


def test_two_plug_ins_of_one_name_are_an_error_that_names_both(distribution) -> None:
    distribution("plug_b", "[qonnx_core.passes]\nsame = plug_b_module:THING\n")
    distribution("plug_c", "[qonnx_core.passes]\nsame = plug_c_module:THING\n")
    with pytest.raises(QonnxError, match=r"two plug-ins are called 'same': .*plug_[bc].* and .*plug_[bc]"):
        plugins.passes()


def test_a_broken_plug_in_is_reported_with_its_distribution(distribution) -> None:
    distribution("plug_d", "[qonnx_core.passes]\nbroken = plug_d_module:THING\n", code="import nothing_of_this_name")
    with pytest.raises(
        QonnxError, match=r"plug-in 'broken' of distribution plug_d .* No module named 'nothing_of_this_name'"
    ):
        plugins.load("passes", "broken")


def test_a_missing_attribute_is_reported_too(distribution) -> None:
    distribution("plug_e", "[qonnx_core.passes]\nbroken = plug_e_module:OTHER\n")
    with pytest.raises(QonnxError, match="plug-in 'broken' of distribution plug_e"):
        plugins.load("passes", "broken")


def test_an_unknown_plug_in_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="no plug-in is called 'nobody'; installed:"):
        plugins.load("backends", "nobody")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'hats' is no kind of plug-in"):
        plugins.names("hats")


PLUG_IN_OP = """
from dataclasses import dataclass
from typing import ClassVar
from qonnx_core.ops import QonnxOp

@dataclass(frozen=True)
class Twice(QonnxOp):
    'Return twice the data.'
    op_type: ClassVar[str] = "Twice"
    domain: ClassVar[str] = "plug.in"
    inputs: ClassVar[tuple[str, ...]] = ("x",)

    def body(self, op, *inputs):
        return op("Add", inputs[0], inputs[0])
"""


def test_an_operator_of_a_plug_in_keeps_the_contract(tmp_path: Path) -> None:
    info = tmp_path / "plug_op-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug_op\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[qonnx_core.ops]\ntwice = plug_op_module:Twice\n")
    (tmp_path / "plug_op_module.py").write_text(PLUG_IN_OP)
    check = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import plug_op_module, numpy as np;"
        "from qonnx_core.testing.op_contract import OpExample, check_op, ties_and_extremes;"
        "check_op(OpExample(plug_op_module.Twice(), [ties_and_extremes()]))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_definitions_of_an_operator_are_refused() -> None:
    from qonnx_core.ops import OpRegistry, Quant

    class Other(Quant):
        pass

    registry = OpRegistry([Quant])
    with pytest.raises(QonnxError, match=r"Quant version 1: defined by both .*Quant and .*Other"):
        registry.add(Other)


def test_entries_seen_twice_on_the_path_count_once() -> None:
    entry = importlib.metadata.EntryPoint("a", "m:x", "g")
    assert list(plugins.unique_entries("g", [entry, entry])) == ["a"]


@pytest.mark.parametrize("code", ["import qonnx_core", "import qonnx_core; qonnx_core.load; qonnx_core.compile_model"])
def test_importing_the_package_imports_no_framework(code: str) -> None:
    heavy = ("torch", "tensorflow", "hls4ml", "alkaid", "onnxscript")
    check = f"{code}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_imports_no_onnx() -> None:
    check = "import qonnx_core, sys; print([m for m in ('onnx','onnx_ir','onnxruntime','numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_exist() -> None:
    import qonnx_core

    for name in qonnx_core.__all__:
        assert getattr(qonnx_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = qonnx_core.nothing
