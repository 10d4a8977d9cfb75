"""Samples that come out differently: hls4ml by its own ONNX front end, and this road through hls4ml.

    nox -s benchmarks
    python benchmarks/exactness.py [--quick]

Both get the same files. hls4ml alone gets them as its users prepare them: cleaned by the qonnx package, types from
``config_from_onnx_model`` with granularity per name. The weights are random.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from measuring import Result, arguments, progress
from measuring.reference import Reference, ReferenceFailed
from numpy.typing import NDArray

import qonnx_core
from backend_hls4ml import BACKEND
from qonnx_core.eda.targets import Target
from qonnx_core.ir.grid import Grid
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

SAMPLES = 2000
INPUT = Grid.parse("INT8*2^-5")
MODELS = {
    "powers of two": MlpShape((16, 32, 16, 5), batch=1, tail=False),
    "any scale": MlpShape((16, 32, 16, 5), power_of_two=False, batch=1, tail=False),
    "any scale, batch norm": MlpShape((16, 32, 16, 5), power_of_two=False, batch_norm=True, batch=1, tail=False),
    "scales per channel, batch norm": MlpShape((16, 32, 16, 5), per_channel=True, batch_norm=True, batch=1, tail=False),
}


def by_hls4ml_alone(reference: Reference, file: Path, x: NDArray[np.float32], folder: Path) -> NDArray[Any] | str:
    """Return the outputs of the compiled hls4ml project, or the class of what it raised."""
    inputs, outputs = folder / "x.npy", folder / "y.npy"
    np.save(inputs, x)
    try:
        reference.ask("hls4ml", file=str(file), x=str(inputs), folder=str(folder / file.stem), output=str(outputs))
    except ReferenceFailed as error:
        return error.kind
    return np.asarray(np.load(outputs))


def by_this_road(model: ir.Model, x: NDArray[np.float32], folder: Path) -> NDArray[Any]:
    """Return the outputs of hls4ml's C++ of the integer form, with the host's ends applied."""
    form = to_integer_form(model, {"global_in": INPUT}, quantizer=BACKEND.quantizer)
    runner = BACKEND.emulate(BACKEND.plan(form, Target()), folder)
    ints, _ = form.inputs[0].grid.to_integers(x)
    found = runner.run({form.inputs[0].name: ints})[form.outputs[0].name]
    (name,) = (value.name or "" for value in form.post.graph.inputs)
    dtype = form.post.graph.inputs[0].dtype
    assert dtype is not None
    return qonnx_core.compile_model(form.post).run({name: found.astype(dtype.numpy())})["global_out"]


def main() -> None:
    """Compare both with the executed model and print the table."""
    options = arguments("Samples that come out differently")
    rows = []
    x = INPUT.to_values(np.random.default_rng(0).integers(-128, 128, (SAMPLES, 16)))
    models = list(MODELS.items())[: 1 if options.quick else None]
    with tempfile.TemporaryDirectory() as folder, Reference(options.reference) as reference:
        versions = reference.versions()
        for number, (name, shape) in enumerate(models):
            progress(f"exactness: {name}")
            file = Path(folder) / f"model_{number}.onnx"
            qonnx_core.save(random_mlp(21 + number, shape), file)
            model = qonnx_core.cleanup_model(qonnx_core.load(file))
            expected = qonnx_core.compile_model(model).run({"global_in": x})["global_out"]
            bound = 4 * np.spacing(np.abs(expected).max())  # a scale that is no power of two rounds the last bits

            def text(found: NDArray[Any] | str, expected: NDArray[Any] = expected, bound: float = bound) -> str:
                if isinstance(found, str):
                    return f"fails: {found}"
                error = np.abs(found - expected)
                answered = np.take_along_axis(expected, found.argmax(1)[:, None], 1)[:, 0]
                answers = int((expected.max(1) - answered > bound).sum())
                return f"{(error > bound).any(1).sum()} (by up to {error.max():.2g}; {answers} other answers)"

            alone = by_hls4ml_alone(reference, file, x, Path(folder))
            ours = by_this_road(model, x, Path(folder) / f"ours_{number}")
            rows.append((name, str(SAMPLES), text(alone), text(ours)))
    columns = ("perceptron 16-32-16-5", "samples", "differ: hls4ml alone", "differ: through backend-hls4ml")
    note = (
        "A sample differs where an output is further from the executed model than 4 ulp of the largest output; its "
        "answer is the index of the largest output, ties aside."
    )
    distributions = ("qonnx-core", "backend-hls4ml", *versions, "onnxruntime")
    Result("exactness", "Exactness of the emulated C++", columns, rows, distributions, note).show(options)


if __name__ == "__main__":
    main()
