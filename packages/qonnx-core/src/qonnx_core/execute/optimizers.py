"""Which graph optimizations of onnxruntime are left out, and why: the others change no bit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from qonnx_core.ir.graphs import graphs_in

Mode = Literal["exact", "fast"]

# Of the basic ones, these fuse or re-order float arithmetic and so change last bits, which flips steps of quantizers.
_INEXACT = (
    "ConvBNFusion",
    "ConvMulFusion",
    "ConvAddFusion",
    "MatMul_BatchNormalization_Fusion",
    "MatMulAddFusion",
    "GemmSumFusion",
    "DivMulFusion",
    "GeluFusionL1",
    "LayerNormFusionL1",
)
# These are wrong, so no mode has them: the first makes one grid of two in a row, the others know the zero points of
# integers of 8 and 16 bits alone. Seen in onnxruntime 1.32.
_WRONG = ("DoubleQDQPairsRemover", "ReluQuantRewrite", "ClipQuantRewrite")
_PAD_AXES = 3  # the input of a Pad that lists axes
_MOVE_TRANSPOSES = ("TransposeOptimizer", "TransposeOptimizer_CPUExecutionProvider")


@dataclass(slots=True)
class Obstacles:
    """What a graph holds past which a Transpose must not be moved, and whether it has one.

    Attributes:
        transposes: there is a Transpose.
        lists_axes: a Resize or Pad lists axes; its numbers end up in the order of all axes, which is wrong.
        reduces: something is summed along axes; the sum is taken in another order where these move.
    """

    transposes: bool = False
    lists_axes: bool = False
    reduces: bool = False

    def see(self, node: ir.Node) -> None:
        """Look at a node and the graphs inside it."""
        op_type = node.op_type
        if op_type == "Transpose":
            self.transposes = True
        elif op_type == "Resize":
            self.lists_axes |= "axes" in node.attributes
        elif op_type == "Pad":
            self.lists_axes |= len(node.inputs) > _PAD_AXES and node.inputs[_PAD_AXES] is not None
        elif op_type.startswith("Reduce"):
            self.reduces = True
        for graph in graphs_in(node):
            for inner in graph:
                self.see(inner)

    @classmethod
    def among(cls, nodes: Iterable[ir.Node]) -> Obstacles:
        """Return what these nodes hold."""
        found = cls()
        for node in nodes:
            found.see(node)
        return found


def left_out(mode: Mode, obstacles: Obstacles) -> list[str]:
    """Return the names of the optimizations that onnxruntime is not to do on a graph."""
    names = [*_WRONG, *(_INEXACT if mode == "exact" else ())]
    if obstacles.lists_axes or (obstacles.reduces and mode == "exact"):
        names += _MOVE_TRANSPOSES
    return names
