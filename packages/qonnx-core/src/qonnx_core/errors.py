"""Every error class of the project: one tree, so that a caller can catch all of it with one name.

A message says where, what was found, what was expected, and what to try.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class QonnxError(Exception):
    """Base of every error that this project raises on purpose."""


class InvalidModel(QonnxError):
    """A model file or graph breaks its format: not ONNX, a dangling value, an unknown rounding mode."""


class InvalidInput(QonnxError):
    """Something the user gave besides the model is wrong: an array, a rule, a data type, an option."""


class Unsupported(QonnxError):
    """Valid, but not something we can do exactly; carries every reason found."""

    def __init__(self, message: str, reasons: Sequence[str] = ()) -> None:
        super().__init__("\n  - ".join([message, *reasons]) if reasons else message)
        self.reasons = tuple(reasons)


class ToolMissing(QonnxError):
    """An external tool is not installed; the message says how to get it."""


class ToolFailed(QonnxError):
    """An external tool ended with an error or ran out of time."""

    def __init__(self, message: str, *, command: Sequence[str], exit_code: int | None, log: Path | None) -> None:
        super().__init__(message)
        self.command = tuple(command)
        self.exit_code = exit_code
        self.log = log


class Mismatch(QonnxError):
    """Two results that have to be equal differ; names the first tensor and sample."""


class StreamFault(QonnxError):
    """Simulated hardware breaks the stream contract or comes to a stop; names the stream and how far each one got."""
