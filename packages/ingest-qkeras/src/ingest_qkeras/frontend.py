"""The front end that `qonnx_core` finds by its entry point, and the two functions behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir

from ingest_qkeras.verification import Inputs
from qonnx_core.errors import InvalidInput

_MODEL_CLASSES = frozenset({"Model", "Functional", "Sequential"})


def from_keras(
    model: Any, *, name: str | None = None, verify: bool = True, verify_inputs: Inputs | None = None
) -> ir.Model:
    """Return the QONNX model that computes what a live Keras 2 model with QKeras layers computes at inference.

    Args:
        model: a functional or built sequential model of tf_keras.
        name: the graph's name; without it the model's own.
        verify: compare with ``model.predict``.
        verify_inputs: what to compare on: one array (samples first), a list, or a mapping by input name; without it a
            seeded sample.

    Tensors have the layers' names, the batch size is symbolic (``batch``), tensors stay channels-last, and the same
    model gives the same bytes.

    Raises:
        InvalidInput: not a Keras 2 model, not built, or TensorFlow was imported with Keras 3.
        Unsupported: a layer or quantizer has no exact counterpart; every such layer is listed.
        Mismatch: the converted model computes something else than ``model.predict``.
        ToolMissing: TensorFlow or QKeras is missing, or another distribution owns the name ``qkeras``.
    """
    from ingest_qkeras.convert import convert
    from ingest_qkeras.environment import load_frameworks
    from ingest_qkeras.verification import require_equal

    if not is_keras_model(model):
        raise InvalidInput(
            f"source: a {type(model).__module__}.{type(model).__name__}; expected a Keras model. Give a model, or use "
            "from_file for a path."
        )
    frameworks = load_frameworks()
    if not isinstance(model, frameworks.tf.keras.Model):
        raise InvalidInput(
            f"source: a model of Keras 3 ({type(model).__module__}); expected one of Keras 2. Set "
            "TF_USE_LEGACY_KERAS=1 before the first import of tensorflow and build it with tf.keras."
        )
    converted = convert(model, name if name is not None else str(model.name), frameworks)
    if verify:
        require_equal(converted, model, verify_inputs)
    return converted


def from_file(path: str | Path, *, verify: bool = True, verify_inputs: Inputs | None = None) -> ir.Model:
    """Return the QONNX model of a saved one: .h5 of QKeras 0.9, or .keras where QKeras itself can read it.

    A saved model has lost some settings that QKeras does not write (is_quantized_clip, scale_axis); what counts is the
    model that QKeras reads back. The graph has the name that the model has.

    Raises:
        InvalidInput: no such file, or it holds weights only.
        InvalidModel: the file is damaged, or Keras cannot rebuild the model from it.
        Unsupported, Mismatch, ToolMissing: as for `from_keras`; also for a file of Keras 3, or with a Lambda layer,
            whose code is not run.
    """
    from ingest_qkeras.environment import load_frameworks
    from ingest_qkeras.files import load_model, read_configuration

    path = Path(path)
    read_configuration(path)  # a wrong file is said at once, not after the import of TensorFlow
    model = load_model(path, load_frameworks())
    return from_keras(model, verify=verify, verify_inputs=verify_inputs)


def is_keras_model(source: object) -> bool:
    """Whether the object is a Keras model, by the names of its classes: nothing is imported."""
    return any(
        kind.__name__ in _MODEL_CLASSES and kind.__module__.partition(".")[0] in {"keras", "tf_keras"}
        for kind in type(source).__mro__
    )


class QKerasFrontend:
    """Reads QKeras models, live or saved."""

    @property
    def name(self) -> str:
        """The name of the entry point."""
        return "qkeras"

    def recognizes(self, source: object) -> bool:
        """Whether the source is a Keras model or a file of one; looks, and imports no framework."""
        from ingest_qkeras.files import looks_like_keras

        if isinstance(source, str | Path):
            return looks_like_keras(Path(source))
        return is_keras_model(source)

    def read(self, source: object) -> ir.Model:
        """Return the verified QONNX model of a source; errors as for `from_keras` and `from_file`."""
        return from_file(source) if isinstance(source, str | Path) else from_keras(source)


FRONTEND = QKerasFrontend()
