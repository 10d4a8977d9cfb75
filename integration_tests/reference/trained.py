"""Models trained elsewhere on which this project and PyPI qonnx are compared."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
from corpus import Array, Case

import qonnx_core
from qonnx_core.ir.annotations import get_datatype
from qonnx_core.passes.change_batch_size import ChangeBatchSize
from qonnx_core.testing.shared_files import find_shared

_SHARED = ("zoo/TFC_1W2A", "zoo/qkeras_jettagging", "nn2fpga/resnet8_a8w8b16")
_SAMPLES = 3  # PyPI qonnx runs a sample of the residual network in a second


def shared_models() -> list[Case]:
    """Return the models of the shared folder, as they are and cleaned up; none where they are not there."""
    found: list[Case] = []
    for name in _SHARED:
        file = find_shared(f"models/{name}.onnx")
        if file is not None:
            data = np.load(file.with_suffix(".npz"))["x"]
            for number in range(_SAMPLES):
                found += _cases(file, "trained networks", data[number : number + 1], number)
    return found


def shipped_models(python: str) -> list[Case]:
    """Return the networks that come with the PyPI package, as they are and cleaned up."""
    code = "import qonnx; print(qonnx.__path__[0])"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip()) / "data" / "onnx"
    found: list[Case] = []
    for file in sorted(folder.rglob("*.onnx")):
        found += _cases(file, "networks in the PyPI package")
    return found


def _cases(file: Path, group: str, data: Array | None = None, number: int = 0) -> Iterator[Case]:
    model = qonnx_core.load(file)
    cleaned = qonnx_core.cleanup_model(model)
    if not all(value.shape is not None and value.shape.is_static() for value in cleaned.graph.inputs):
        ChangeBatchSize(1).run(cleaned)  # PyPI qonnx runs no free batch
    for how, made in (("as_it_is", model), ("cleaned", cleaned)):
        name = "_".join((file.parent.name, file.stem, how, str(number)))
        inputs = {value.name or "": _values(value) if data is None else data for value in made.graph.inputs}
        yield Case(name, group, made, inputs, "rounding")


def _values(value: ir.Value) -> Array:
    generator = np.random.default_rng(0)
    shape = [dim if isinstance(dim, int) else 1 for dim in value.shape or ()]
    datatype = get_datatype(value)
    if datatype is None or not datatype.is_integer():
        return generator.normal(0, 1, shape).astype(np.float32)
    return generator.integers(int(datatype.min), int(datatype.max) + 1, shape).astype(np.float32)
