"""Names of onnxruntime's execution providers: what a session may compute on, and what to install where one lacks."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime

from qonnx_core.errors import InvalidInput, ToolMissing

_SUFFIX = "ExecutionProvider"
CPU = f"CPU{_SUFFIX}"
CUDA = f"CUDA{_SUFFIX}"
# Distributions of onnxruntime that hold a provider; each takes the place of the plain one.
_DISTRIBUTIONS = {
    CUDA: "onnxruntime-gpu, with a CUDA and a cuDNN of the versions that it names,",
    f"Tensorrt{_SUFFIX}": "onnxruntime-gpu, and TensorRT,",
    f"OpenVINO{_SUFFIX}": "onnxruntime-openvino",
    f"Dml{_SUFFIX}": "onnxruntime-directml",
    f"MIGraphX{_SUFFIX}": "onnxruntime-migraphx",
    f"QNN{_SUFFIX}": "onnxruntime-qnn",
}


def provider_names(wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return onnxruntime's names for the providers, in the order of preference.

    Args:
        wanted: one or more of ``"cpu"``, ``"cuda"``, ... (case does not matter) or onnxruntime's own spellings, such
            as ``"CUDAExecutionProvider"``; None means the CPU.

    Raises:
        InvalidInput: onnxruntime knows no provider of this name, or none is named.
        ToolMissing: it knows it, but what is installed here does not have it.
    """
    given = [CPU] if wanted is None else [wanted] if isinstance(wanted, str) else list(wanted)
    if not given:
        raise InvalidInput("providers: found none; expected at least one, such as cpu. Leave the option out for cpu.")
    return tuple(dict.fromkeys(_provider(name) for name in given))


def _provider(wanted: str) -> str:
    known: dict[str, str] = {_short(name): name for name in onnxruntime.get_all_providers()}
    available = onnxruntime.get_available_providers()
    here = ", ".join(sorted(_short(name) for name in available))
    name = known.get(_short(wanted))
    if name is None:
        raise InvalidInput(
            f"provider {wanted!r}: onnxruntime knows none of this name; expected one of {', '.join(sorted(known))}. "
            f"Available here: {here}."
        )
    if name not in available:
        raise missing(name)
    return name


def missing(name: str, reason: str = "the installed onnxruntime does not have it") -> ToolMissing:
    """Return the error for a provider that cannot be used here."""
    here = ", ".join(sorted(_short(found) for found in onnxruntime.get_available_providers()))
    needed = _DISTRIBUTIONS.get(name, "a build of onnxruntime that has it")
    return ToolMissing(
        f"provider {_short(name)}: {reason} (available: {here}); expected one that can be used. "
        f"Install {needed} in place of onnxruntime, or choose cpu."
    )


def _short(name: str) -> str:
    return name.removesuffix(_SUFFIX).lower()
