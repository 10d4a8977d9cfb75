"""One onnxruntime session with the settings under which the same bits come out every time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx_ir as ir
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from qonnx_core.errors import InvalidModel
from qonnx_core.formats.writer import serialize, total_bytes

# These fuse or re-order float arithmetic and so change the last bits of sums, which flips steps of quantizers.
_INEXACT_OPTIMIZERS = (
    "ConvBNFusion",
    "ConvMulFusion",
    "ConvAddFusion",
    "ConvActivationFusion",
    "ConvAddActivationFusion",
    "MatMul_BatchNormalization_Fusion",
    "MatMulBNFusion",
    "MatMulAddFusion",
    "GemmActivationFusion",
    "GemmSumFusion",
    "MatmulTransposeFusion",
    "MatMulScaleFusion",
    "MatMulActivationFusion",
    "DivMulFusion",
    "NchwcTransformer",
)
_IN_MEMORY_BYTES = 2**30


def _errors() -> tuple[type[Exception], ...]:
    names = ("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile",
             "NotImplemented", "RuntimeException")  # fmt: skip
    return tuple(getattr(state, name) for name in names)


# Everything that onnxruntime raises when it opens or runs a model.
RUNTIME_ERRORS = _errors()


def open_session(model: ir.Model, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Return a session for a model of plain ONNX operators.

    Raises:
        InvalidModel: onnxruntime does not accept it.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        if total_bytes(model) <= _IN_MEMORY_BYTES:
            return _session(serialize(model), options)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            ir.save(model, file, external_data="model.data")
            return _session(str(file), options)
    except RUNTIME_ERRORS as error:
        raise InvalidModel(
            f"model: onnxruntime does not accept it: {' '.join(str(error).split())}; expected operators and types that "
            "it can run. Check the node named there."
        ) from error


def _session(source: bytes | str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(_INEXACT_OPTIMIZERS)
    )
