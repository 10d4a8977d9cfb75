"""The contract test of a front end: what every plug-in of ``qonnx_core.frontends`` can run on itself.

A package runs it by a subclass in a test module that has the two fixtures; pytest collects the inherited methods::

    @pytest.fixture(scope="module")
    def source(tmp_path_factory):
        return a_file_or_live_model

    @pytest.fixture(scope="module")
    def unsupported():
        return UnsupportedCase(a_model, "net/conv1", "QConv2D")

    class TestContract(FrontendContract):
        entry = "qkeras"
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from qonnx_core import compile_model, load, plugins, save
from qonnx_core.errors import QonnxError, Unsupported

_FRAMEWORKS = ("torch", "brevitas", "tensorflow", "keras", "tf_keras", "qkeras", "jax", "onnxscript")

_RECOGNIZE = """
import sys
from qonnx_core import plugins
from pathlib import Path
frontend = plugins.load("frontends", sys.argv[1])
answers = [frontend.recognizes(Path(path)) for path in sys.argv[2].split("\\n") if path]
loaded = sorted(set(sys.argv[3].split(",")) & set(sys.modules))
print(answers)
print(loaded)
"""


@dataclass(frozen=True, slots=True)
class UnsupportedCase:
    """A source with a layer that the front end refuses, that layer's path in the model, and its class."""

    source: object
    path: str
    class_name: str


class FrontendContract:
    """Subclass it, set ``entry``, and define the fixtures ``source`` and ``unsupported`` in the test module.

    ``source`` is something that `read` converts (a path or a live model), ``unsupported`` an `UnsupportedCase`. Where
    ``source`` is a path, recognition from the file alone is tested as well.
    """

    entry: ClassVar[str]
    """Name of the entry point in the group ``qonnx_core.frontends``."""
    frameworks: ClassVar[Sequence[str]] = _FRAMEWORKS
    """Modules that `recognizes` does not import."""
    batch: ClassVar[int] = 3
    """A batch size other than 1 that the model is run with."""

    def test_the_frontend_is_found_by_its_entry_point(self) -> None:
        """The entry point leads to a front end of the same name."""
        assert plugins.load("frontends", self.entry).name == self.entry

    def test_recognizes_imports_no_framework(self, source: object, tmp_path: Path) -> None:
        """Recognition, in a process of its own, loads none of ``frameworks`` and answers no for other files."""
        other = tmp_path / "other.bin"
        other.write_bytes(b"this is no model")
        paths = [str(other), str(tmp_path), str(tmp_path / "absent.h5")]
        if isinstance(source, str | Path):
            paths.append(str(source))
        command = [sys.executable, "-c", _RECOGNIZE, self.entry, "\n".join(paths), ",".join(self.frameworks)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        answers, loaded = done.stdout.splitlines()[-2:]
        assert answers == str([False] * 3 + [True] * (len(paths) - 3))
        assert loaded == "[]", f"recognizes() imported {loaded}"

    def test_a_source_is_recognized_and_other_objects_are_not(self, source: object) -> None:
        """Recognition says yes to the source and no to anything else."""
        frontend = plugins.load("frontends", self.entry)
        assert frontend.recognizes(source) is True
        assert frontend.recognizes(object()) is False
        assert frontend.recognizes({"a": 1}) is False

    def test_read_gives_a_valid_model(self, source: object) -> None:
        """The model passes the ONNX checker; its nodes have names, its inputs are real inputs."""
        model = plugins.load("frontends", self.entry).read(source)
        assert isinstance(model, ir.Model)
        onnx.checker.check_model(ir.to_proto(model))
        initializers = set(model.graph.initializers)
        assert not [value.name for value in model.graph.inputs if value.name in initializers]
        assert model.producer_name
        names = [node.name for node in model.graph]
        assert all(names)
        assert len(set(names)) == len(names)

    def test_the_model_runs_at_any_batch_size(self, source: object) -> None:
        """Samples run together give what they give alone, but for the order of float sums."""
        model = plugins.load("frontends", self.entry).read(source)
        inputs = {str(value.name): _sample(value, self.batch, seed) for seed, value in enumerate(model.graph.inputs)}
        compiled = compile_model(model)
        together = compiled.run(inputs)
        for i in range(self.batch):
            alone = compiled.run({name: array[i : i + 1] for name, array in inputs.items()})
            for name, array in together.items():
                np.testing.assert_allclose(array[i : i + 1], alone[name], rtol=1e-5, atol=1e-5, err_msg=name)

    def test_a_written_model_reads_back_to_the_same_numbers(self, source: object, tmp_path: Path) -> None:
        """Writing and loading the model changes no output."""
        model = plugins.load("frontends", self.entry).read(source)
        inputs = {str(value.name): _sample(value, self.batch, seed) for seed, value in enumerate(model.graph.inputs)}
        expected = compile_model(model).run(inputs)
        save(model, tmp_path / "model.onnx")
        found = compile_model(load(tmp_path / "model.onnx")).run(inputs)
        assert list(found) == list(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)

    def test_the_same_source_gives_the_same_bytes(self, source: object) -> None:
        """Reading twice gives the same file."""
        frontend = plugins.load("frontends", self.entry)
        first, second = (ir.to_proto(frontend.read(source)).SerializeToString(deterministic=True) for _ in range(2))
        assert first == second

    def test_an_unsupported_layer_is_named_with_path_and_class(self, unsupported: UnsupportedCase) -> None:
        """The refusal says which layer, by path and class."""
        with pytest.raises(Unsupported) as caught:
            plugins.load("frontends", self.entry).read(unsupported.source)
        assert f"{unsupported.path} ({unsupported.class_name})" in str(caught.value)

    def test_an_absent_file_is_one_clear_error(self, tmp_path: Path) -> None:
        """A path that leads nowhere is an error of ours that names it."""
        with pytest.raises(QonnxError, match="absent"):
            plugins.load("frontends", self.entry).read(tmp_path / "absent.h5")


def _sample(value: ir.Value, batch: int, seed: int) -> np.ndarray:
    assert value.shape is not None
    shape = (batch, *(d if isinstance(d, int) else 4 for d in list(value.shape)[1:]))
    return np.random.default_rng(seed).integers(-16, 17, shape).astype(np.float32) / np.float32(16)
