"""The options of the backend: what a user may choose, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, get_args

from qonnx_core.errors import InvalidInput

ThresholdForm = Literal["auto", "comparators", "table", "search"]
HlsBackend = Literal["Vitis", "Vivado"]
IoType = Literal["io_parallel", "io_stream"]
Strategy = Literal["Latency", "Resource"]
Emulator = Literal["hls4ml", "alkaid"]


@dataclass(frozen=True, slots=True)
class Options:
    """Every choice of the backend; the defaults suit small networks on a 100 MHz clock.

    ``latency_cutoff`` is the depth of a pipeline stage in adders (0 means: from the clock period); ``block_weights`` is
    the size of a matrix above which it is traced in blocks of rows (time is about quadratic in it, and sharing across
    blocks is lost). ``*_elements_per_beat`` of 0 means: a whole frame where it fits into ``max_beat_bits``, else the
    largest divisor that does. ``max_digits`` bounds the network: the non-zero signed digits of all weights.
    """

    hls_backend: HlsBackend = "Vitis"
    io_type: IoType = "io_parallel"
    strategy: Strategy = "Latency"
    reuse_factor: int = 1
    emulator: Emulator = "hls4ml"
    hls_project: bool = True
    latency_cutoff: float = 0.0
    threshold_form: ThresholdForm = "auto"
    block_weights: int = 12_544
    max_digits: int = 400_000
    optimize: bool = True
    input_elements_per_beat: int = 0
    output_elements_per_beat: int = 0
    max_beat_bits: int = 1024
    check_samples: int = 1024
    seed: int = 0


_CHOICES: dict[str, tuple[str, ...]] = {
    "hls_backend": get_args(HlsBackend),
    "io_type": get_args(IoType),
    "strategy": get_args(Strategy),
    "emulator": get_args(Emulator),
    "threshold_form": get_args(ThresholdForm),
}
_AT_LEAST: dict[str, float] = {
    "reuse_factor": 1,
    "latency_cutoff": 0,
    "block_weights": 1,
    "max_digits": 1,
    "input_elements_per_beat": 0,
    "output_elements_per_beat": 0,
    "max_beat_bits": 1,
    "check_samples": 1,
    "seed": 0,
}


def parse_options(given: Mapping[str, object] | None) -> Options:
    """Return the options of a mapping; names and values are checked.

    Raises:
        InvalidInput: for an unknown name, a value outside of the choices, or a number that is too small.
    """
    known = {field.name for field in fields(Options)}
    values = dict(given or {})
    for name, value in values.items():
        if name not in known:
            raise InvalidInput(f"hls4ml options: found {name!r}; expected one of {', '.join(sorted(known))}.")
        default = getattr(Options(), name)
        if name in _CHOICES:
            fits = value in _CHOICES[name]
            expected = f"one of {', '.join(_CHOICES[name])}"
        elif isinstance(default, bool):
            fits, expected = isinstance(value, bool), "true or false"
        else:
            kinds = (int, float) if isinstance(default, float) else (int,)
            fits = isinstance(value, kinds) and not isinstance(value, bool) and value >= _AT_LEAST[name]
            expected = f"a {'number' if float in kinds else 'whole number'} of at least {_AT_LEAST[name]}"
        if not fits:
            raise InvalidInput(f"hls4ml options: {name} is {value!r}; expected {expected}.")
    return Options(**values)  # type: ignore[arg-type]
