"""One onnxruntime session; by default with the settings under which the same bits come out every time."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported
from qonnx_core.execute.messages import runtime_message
from qonnx_core.execute.optimizers import Mode, Obstacles, left_out
from qonnx_core.execute.providers import CPU, CUDA, missing, provider_names
from qonnx_core.formats.writer import serialize, total_bytes
from qonnx_core.ir.memory import give_back

if TYPE_CHECKING:
    from qonnx_core.execute.plain_graph import PlainGraph

MAX_THREADS = 1024
"""More than any machine has cores; each one takes memory."""

# Weights stay in the order in which sums are taken without packing; quantized arithmetic stays written out.
_EXACT_ENTRIES = {"session.disable_prepacking": "1", "session.disable_quant_qdq": "1"}
# A MatMul by weights behind a DequantizeLinear would round its data to 8 bits; level 1 computes in float32.
_FAST_ENTRIES = {"session.qdq_matmulnbits_accuracy_level": "1"}
_NOT_IN_NUMPY = re.compile(r"tensor\((bfloat16|float8\w*|float4\w*|u?int[24])\)")
_IN_MEMORY_BYTES = 2**30


def _errors() -> tuple[type[Exception], ...]:
    names = ("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile",
             "NotImplemented", "RuntimeException")  # fmt: skip
    return tuple(getattr(state, name) for name in names)


# Everything that onnxruntime raises when it opens or runs a model; the last one where it cuts a long name in a message.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (*_errors(), UnicodeDecodeError)


@dataclass(frozen=True)
class SessionSettings:
    """How onnxruntime runs a model: the one place where its options are chosen.

    Attributes:
        mode: ``"exact"`` or ``"fast"``; see :func:`qonnx_core.compile_model`.
        threads: threads within an operator; 0 lets onnxruntime take one for each core.
        providers: onnxruntime's names of what computes, the preferred one first; operators that one lacks run on the
            CPU, as onnxruntime does it.
    """

    mode: Mode = "exact"
    threads: int = 1
    providers: tuple[str, ...] = (CPU,)

    @classmethod
    def of(cls, mode: str = "exact", threads: int = 1, providers: str | Sequence[str] | None = None) -> SessionSettings:
        """Return checked settings.

        Raises:
            InvalidInput: there is no such mode or provider, or not 0 to ``MAX_THREADS`` threads.
            ToolMissing: a provider is not available here.
        """
        if mode not in ("exact", "fast"):
            raise InvalidInput(f"mode: found {mode!r}; expected exact or fast. Leave it out for exact.")
        if not 0 <= threads <= MAX_THREADS:
            raise InvalidInput(
                f"threads: found {threads}; expected 1 to {MAX_THREADS}, or 0 for one on each core. Take 0."
            )
        return cls("fast" if mode == "fast" else "exact", threads, provider_names(providers))

    def options(self) -> onnxruntime.SessionOptions:
        """Return them as onnxruntime takes them."""
        options = onnxruntime.SessionOptions()
        levels = onnxruntime.GraphOptimizationLevel
        options.graph_optimization_level = levels.ORT_ENABLE_BASIC if self.mode == "exact" else levels.ORT_ENABLE_ALL
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # a plan for each batch size: no faster, and takes up to twice the memory
        options.log_severity_level = 4
        for key, value in (_EXACT_ENTRIES if self.mode == "exact" else _FAST_ENTRIES).items():
            options.add_session_config_entry(key, value)
        return options

    def provider_list(self) -> list[tuple[str, dict[str, str]]]:
        """Return the providers with their options, the CPU last."""
        exact = {CUDA: {"use_tf32": "0"}} if self.mode == "exact" else {}
        return [(name, exact.get(name, {})) for name in dict.fromkeys((*self.providers, CPU))]


def open_session(
    model: ir.Model, *, threads: int = 1, settings: SessionSettings | None = None
) -> onnxruntime.InferenceSession:
    """Return a session for a model of plain ONNX operators.

    Args:
        model: the model.
        threads: threads of a session with exact settings.
        settings: all settings; then ``threads`` is not looked at.

    Raises:
        InvalidModel: onnxruntime does not accept it.
        ToolMissing: a provider cannot be used here.
    """
    settings = settings or SessionSettings(threads=threads)
    obstacles = Obstacles.among(model.graph)
    try:
        if total_bytes(model) <= _IN_MEMORY_BYTES:
            return _session(serialize(model), settings, obstacles)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            ir.save(model, file, external_data="model.data")
            return _session(str(file), settings, obstacles)
    except RUNTIME_ERRORS as error:
        raise _not_accepted(error) from error


def open_plain(plain: PlainGraph, outputs: Sequence[str], settings: SessionSettings) -> onnxruntime.InferenceSession:
    """Return a session that computes the tensors of these names; it keeps ``plain.large`` where it is.

    Raises:
        InvalidModel: onnxruntime does not accept the graph.
        Unsupported: an input or output is of a type that NumPy lacks.
        ToolMissing: a provider cannot be used here.
    """
    content = plain.with_outputs(outputs).SerializeToString()
    try:
        session = _session_beside(content, settings, plain) or _session(content, settings, plain.obstacles, plain.large)
    except RUNTIME_ERRORS as error:
        raise _not_accepted(error) from error
    _check_element_types(session)
    return session


def _check_element_types(session: onnxruntime.InferenceSession) -> None:
    """Refuse inputs and outputs that onnxruntime does not exchange with NumPy, before anything runs."""
    for what, tensors, hint in (
        ("input", session.get_inputs(), "Make it float32 and put a Cast behind it."),
        ("output", session.get_outputs(), "Put a Cast to float32 in front of it."),
    ):
        for tensor in tensors:
            found = _NOT_IN_NUMPY.fullmatch(tensor.type)
            if found:
                raise Unsupported(
                    f"{what} {tensor.name}: has element type {found[1]}, of which onnxruntime exchanges no arrays; "
                    f"expected a type of NumPy. {hint}"
                )


def _not_accepted(error: Exception) -> InvalidModel:
    return InvalidModel(
        f"model: onnxruntime does not accept it: {runtime_message(error)}; expected operators and types that "
        "it can run. Cast to float32, or use another operator."
    )


def _session_beside(
    content: bytes, settings: SessionSettings, plain: PlainGraph
) -> onnxruntime.InferenceSession | None:
    """Return a session that sees the large tensors only when it runs; nothing where onnxruntime looks into one before.

    It copies those that it can look into. So the graph names an empty file for their data: where an optimization needs
    a number of them, it fails to read it. Those of mode ``"fast"`` mostly do.
    """
    if not plain.large or settings.mode != "exact" or settings.providers != (CPU,):
        return None
    options = settings.options()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(Path(__file__).parent))
    for name, value in plain.large.items():
        options.add_initializer(name, value)
    try:
        return _inference_session(content, options, settings, plain.obstacles)
    except RUNTIME_ERRORS:
        return None


def _session(
    source: bytes | str,
    settings: SessionSettings,
    obstacles: Obstacles,
    large: Mapping[str, onnxruntime.OrtValue] | None = None,
) -> onnxruntime.InferenceSession:
    options = settings.options()
    if large:  # onnxruntime copies them while it opens the graph
        options.add_external_initializers(list(large), list(large.values()))
        # Other providers copy the tensors to where they are needed. A Transpose that moves turns tensors on its way,
        # and leaves their names; those of mode "fast" may be ones that onnxruntime adds.
        if settings.providers == (CPU,) and settings.mode == "exact" and not obstacles.transposes:
            for name, value in large.items():
                options.add_initializer(name, value)
    session = _inference_session(source, options, settings, obstacles)
    if large:
        give_back()
    unused = [name for name in settings.providers if name not in session.get_providers()]
    if unused:  # a library that it needs is missing: onnxruntime would go on without it and say so in its log only
        raise missing(unused[0], "onnxruntime has it, but cannot start it")
    return session


def _inference_session(
    source: bytes | str, options: onnxruntime.SessionOptions, settings: SessionSettings, obstacles: Obstacles
) -> onnxruntime.InferenceSession:
    disabled = left_out(settings.mode, obstacles)
    arguments: dict[str, Any] = {"disabled_optimizers": disabled, "enable_fallback": 0}
    return onnxruntime.InferenceSession(source, options, providers=settings.provider_list(), **arguments)
