"""Turns a model into plain ONNX: each operator of ours becomes the few nodes that its definition needs here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import onnx_ir as ir

from qonnx_core.errors import InvalidModel, Unsupported
from qonnx_core.execute.automatic_pads import write_pads
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.names import Names, label_of
from qonnx_core.ops.builder import GraphBuilder
from qonnx_core.ops.op import DOMAIN, QonnxOp
from qonnx_core.ops.registry import op_of


def lower(model: ir.Model) -> int:
    """Replace every operator of ours in place, and padding that runtimes get wrong; return how many there were.

    The tensors between operators keep their names. Element types have to be known (see ``InferShapes``).

    Raises:
        Unsupported: an operator belongs to the format, but nothing here defines it, or a padding is not known.
    """
    count = write_pads(model)
    names = Names(model.graph)
    for graph in list(model.graphs()):
        for node in list(graph):
            op = op_of(node, model.opset_imports)
            if op is None and node.domain == DOMAIN:
                raise Unsupported(
                    f"{label_of(node)}: is an operator of the format that cannot "
                    "be run yet; expected one of those in qonnx_core.ops. Install a plug-in that defines it."
                )
            if op is not None:
                _replace(model.graph, graph, node, op, f"{DOMAIN}/{count}", names)
                count += 1
    return count


@contextlib.contextmanager
def errors_of(node: ir.Node) -> Iterator[None]:
    """Say which node it is where its constants do not fit its definition.

    Raises:
        InvalidModel: instead of what NumPy raises, which computes what depends on constants alone.
    """
    where = label_of(node)
    try:
        yield
    except InvalidModel as error:
        raise InvalidModel(f"{where}: {error}") from error
    except (ValueError, OverflowError) as error:
        raise InvalidModel(
            f"{where}: its constants do not fit each other: {error}; expected shapes that broadcast and numbers that "
            "an operator can have. Check its parameters."
        ) from error


def _replace(root: ir.Graph, graph: ir.Graph, node: ir.Node, op: QonnxOp, prefix: str, names: Names) -> None:
    builder = GraphBuilder(root, prefix, constant_array, names)
    old = node.outputs[0]
    inputs = [value for value in node.inputs if value is not None]
    with errors_of(node):
        made = builder.value(op.expand(builder, inputs))
    if made.producer() is None or made in inputs:
        made = builder.node("Identity", [made])[0]
    for number, inner in enumerate(builder.nodes):
        inner.name = names.free_for_node(f"{prefix}/{number}")
        for index, value in enumerate(inner.outputs):
            value.name = names.free(f"{prefix}/{number}_{index}")
    made.type, made.shape = old.type, old.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], builder.nodes, [old], [made])
