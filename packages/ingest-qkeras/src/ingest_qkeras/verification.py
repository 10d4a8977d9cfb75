"""Compares a converted model with ``model.predict`` of the Keras model, sample by sample."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from qonnx_core.errors import InvalidInput, Mismatch
from qonnx_core.verify import Check, compare_outputs

FloatArray = npt.NDArray[np.float32]
Inputs = npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike]

SEED = 0
SAMPLES = 96
_LOG = logging.getLogger("ingest_qkeras")


def compare_with_keras(converted: ir.Model, keras_model: Any, inputs: Inputs | None = None) -> Check:
    """Return how the converted model compares with ``keras_model.predict``, in the four classes of `Check`.

    ``inputs``: one array (samples first) for a model with one input, a list of arrays in the order of the inputs, or a
    mapping from input names; without it a seeded sample is made: a third on the grid of multiples of 1/16 in 0 to 1, a
    third uniform in -1 to 1, a third Gaussian with standard deviation 4.

    A softmax, sigmoid or tanh is evaluated by other code in TensorFlow than in onnxruntime and may differ by a few ulp;
    such samples count as ``rounding``.

    Raises:
        InvalidInput: inputs of other names or shapes than the model has.
    """
    arrays = _arrays(converted, inputs)
    given = list(arrays.values())
    predicted = keras_model.predict(given[0] if len(given) == 1 else given, batch_size=256, verbose=0)
    expected = _flatten(predicted)
    names = [str(value.name) for value in converted.graph.outputs]
    return compare_outputs(
        converted, arrays, dict(zip(names, expected, strict=True)), left="model.predict", right="QONNX"
    )


def require_equal(converted: ir.Model, keras_model: Any, inputs: Inputs | None) -> Check:
    """Return the check of `compare_with_keras`, logged; raise where a sample is a mismatch.

    Raises:
        Mismatch: a sample differs by more than float32 arithmetic explains; names the first output that differs.
    """
    check = compare_with_keras(converted, keras_model, inputs)
    _LOG.log(logging.WARNING if check.boundary else logging.INFO, "%s: %s", keras_model.name, check)
    if not check.passed:
        raise Mismatch(
            f"{keras_model.name}: {check.mismatch} of {check.samples} samples differ between model.predict and the "
            f"converted model; expected none. First: {check.first}. Where an activation sees values above 2**24 of its "
            "steps, QKeras' own straight-through arithmetic loses the quantized value: scale the inputs "
            "(verify_inputs) to the range of the training data. Otherwise report this with the model."
        )
    return check


def _arrays(converted: ir.Model, inputs: Inputs | None) -> dict[str, FloatArray]:
    """Return the inputs by name, as float32, in the order of the model's inputs."""
    values = list(converted.graph.inputs)
    names = [str(value.name) for value in values]
    if inputs is None:
        return {name: _sample(value, seed) for seed, (name, value) in enumerate(zip(names, values, strict=True))}
    if isinstance(inputs, Mapping):
        if set(inputs) != set(names):
            raise InvalidInput(
                f"verify_inputs: the names are {sorted(inputs)}; expected {names}. Rename the arrays to the inputs."
            )
        found: list[Any] = [inputs[name] for name in names]
    elif isinstance(inputs, list | tuple) and any(isinstance(array, np.ndarray) for array in inputs):
        found = list(inputs)
    else:
        found = [inputs]
    if len(found) != len(names):
        raise InvalidInput(
            f"verify_inputs: {len(found)} arrays; expected {len(names)}, one for each of {', '.join(names)}."
        )
    arrays = {name: np.asarray(array, dtype=np.float32) for name, array in zip(names, found, strict=True)}
    for value in values:
        assert value.shape is not None
        wanted = list(value.shape)[1:]
        shape = arrays[str(value.name)].shape
        fits = len(shape) == len(wanted) + 1 and all(
            not isinstance(d, int) or d == s for d, s in zip(wanted, shape[1:], strict=True)
        )
        if not fits or shape[0] == 0:
            raise InvalidInput(
                f"verify_inputs: {value.name} has shape {shape}; expected {('N', *map(str, wanted))} with N at least 1."
            )
    return arrays


def _sample(value: ir.Value, seed: int) -> FloatArray:
    assert value.shape is not None
    rng = np.random.default_rng(SEED + seed)
    shape = (SAMPLES // 3, *(d if isinstance(d, int) else 4 for d in list(value.shape)[1:]))
    parts = [
        rng.integers(0, 17, shape) / 16,
        rng.uniform(-1, 1, shape),
        4 * rng.standard_normal(shape),
    ]
    return np.concatenate(parts).astype(np.float32)


def _flatten(predicted: Any) -> list[FloatArray]:
    """Return the arrays of a prediction in the order of the model's outputs (dictionaries by sorted key, as Keras)."""
    if isinstance(predicted, Mapping):
        return [array for key in sorted(predicted) for array in _flatten(predicted[key])]
    if isinstance(predicted, list | tuple):
        return [array for part in predicted for array in _flatten(part)]
    return [np.asarray(predicted)]
