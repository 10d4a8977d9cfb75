"""alkaid's clean-up passes in their order, but for the one that is wrong.

`canonicalize_msb_wraps` of alkaid 0.8.2 drops the shift of a one-bit extraction whenever the extracted bit has the
weight of the source's sign bit, without looking whether it is that bit: bit 3 of ``8 * x``, ``x`` in -7 .. 7, becomes
the sign of ``x``. It only renames what is already right, so leaving it out costs nothing.
"""

from __future__ import annotations

from typing import Any

from qonnx_core.errors import Unsupported

_MAX_ROUNDS = 4


def optimize(logic: Any) -> Any:
    """Return the ``CombLogic`` without dead, repeated and empty operations, in the order that a pipeline wants.

    Raises:
        Unsupported: where the passes do not come to rest.
    """
    from alkaid.trace.passes.order import canonical_sort, topo_bandwidth_sort
    from alkaid.trace.passes.retrace import _retrace
    from alkaid.trace.passes.surrogate import add_surrogate

    for _ in range(_MAX_ROUNDS):
        before = canonical_sort(_reduce(logic))
        logic = canonical_sort(_reduce(_retrace(before)))
        if logic == before:
            return topo_bandwidth_sort(canonical_sort(add_surrogate(logic)))
    raise Unsupported(
        "distributed arithmetic: the clean-up of the adder network does not come to rest. "
        "Plan with the option optimize=False, and report the model."
    )


def _reduce(logic: Any) -> Any:
    from alkaid.trace.passes.canon import canonicalize_outputs, const_propagation
    from alkaid.trace.passes.cse import common_subexpr_elimin
    from alkaid.trace.passes.dce import dead_code_elimin
    from alkaid.trace.passes.null_op import null_quant_elimin

    logic = canonicalize_outputs(const_propagation(logic))
    logic = common_subexpr_elimin(dead_code_elimin(logic))
    return dead_code_elimin(null_quant_elimin(dead_code_elimin(logic)))
