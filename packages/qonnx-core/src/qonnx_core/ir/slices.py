"""Which elements ONNX's Slice takes along an axis."""

from __future__ import annotations


def slice_along(start: int, end: int, step: int, size: int) -> slice:
    """Return the Python slice that takes what Slice takes along an axis of this size.

    Python finds nothing where a slice that steps back begins before the first element; ONNX begins at that element.
    """
    start, end = (place + size if place < 0 else place for place in (start, end))
    if step > 0:
        return slice(min(max(start, 0), size), min(max(end, 0), size), step)
    end = min(max(end, -1), size - 1)
    return slice(min(max(start, 0), size - 1), None if end < 0 else end, step) if size else slice(0, 0)
