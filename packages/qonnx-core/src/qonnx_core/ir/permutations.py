"""Orders of axes."""

from __future__ import annotations

import onnx_ir as ir


def permutation_of(transpose: ir.Node, rank: int) -> list[int]:
    """Return the permutation of a Transpose of this many axes, which is the reverse order where it is left out.

    A file can hold one that does not fit the rank.
    """
    return list(transpose.attributes.get_ints("perm") or reversed(range(rank)))
