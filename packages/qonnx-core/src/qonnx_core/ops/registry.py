"""Finds the operator class of a node: by domain, name and the version that the model imports."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import onnx.defs
import onnx_ir as ir

from qonnx_core.errors import InvalidModel, QonnxError
from qonnx_core.ir.graphs import graphs_of
from qonnx_core.ir.names import label_of
from qonnx_core.ops.bipolar_quant import BipolarQuant
from qonnx_core.ops.channels_last import (
    CHANNELS_LAST,
    ChannelsLastBatchNormalization,
    ChannelsLastBatchNormalizationV9,
    ChannelsLastBatchNormalizationV14,
    ChannelsLastConv,
    ChannelsLastMaxPool,
    ChannelsLastMaxPoolV1,
)
from qonnx_core.ops.debug_marker import DebugMarker
from qonnx_core.ops.float_quant import FloatQuant
from qonnx_core.ops.im2col import Im2Col
from qonnx_core.ops.max_pool_nhwc import MaxPoolNHWC
from qonnx_core.ops.multithreshold import MultiThreshold
from qonnx_core.ops.op import DOMAIN, QonnxOp
from qonnx_core.ops.quant import IntQuant, Quant
from qonnx_core.ops.quant_avg_pool2d import QuantAvgPool2d
from qonnx_core.ops.trunc import Trunc, TruncV1
from qonnx_core.ops.xnor_popcount_matmul import XnorPopcountMatMul

BUILT_IN: tuple[type[QonnxOp], ...] = (
    Quant,
    IntQuant,
    BipolarQuant,
    TruncV1,
    Trunc,
    FloatQuant,
    MultiThreshold,
    QuantAvgPool2d,
    XnorPopcountMatMul,
    MaxPoolNHWC,
    Im2Col,
    DebugMarker,
    ChannelsLastConv,
    ChannelsLastMaxPoolV1,
    ChannelsLastMaxPool,
    ChannelsLastBatchNormalization,
    ChannelsLastBatchNormalizationV9,
    ChannelsLastBatchNormalizationV14,
)

# Domain names under which other and older tools write the same operators.
DOMAIN_ALIASES = {
    "onnx.brevitas": DOMAIN,
    "finn": DOMAIN,
    "finn.custom_op.general": DOMAIN,
}

# Operators of the format without a body of their own: the models that they name take their places.
LISTED_ONLY = frozenset(("GenericPartition",))


_NO_NUMBERS = frozenset((ir.DataType.STRING, ir.DataType.COMPLEX64, ir.DataType.COMPLEX128))


class OpRegistry:
    """A set of operators, at most one per domain, name and version."""

    def __init__(self, ops: Iterable[type[QonnxOp]] = ()) -> None:
        self._versions: dict[tuple[str, str], dict[int, type[QonnxOp]]] = {}
        self._domains: frozenset[str] = frozenset()
        for op in ops:
            self.add(op)

    def add(self, op: type[QonnxOp]) -> None:
        """Add an operator.

        Raises:
            QonnxError: there is another one of the same domain, name and version.
        """
        versions = self._versions.setdefault((op.domain, op.op_type), {})
        other = versions.get(op.since_version)
        if other is not None and other is not op:
            raise QonnxError(
                f"{op.domain}::{op.op_type} version {op.since_version}: defined by both {_origin(other)} and "
                f"{_origin(op)}; expected one definition. Uninstall one of the two."
            )
        versions[op.since_version] = op
        self._domains |= {op.domain}

    def __iter__(self) -> Iterator[type[QonnxOp]]:
        return (op for versions in self._versions.values() for op in versions.values())

    @property
    def domains(self) -> frozenset[str]:
        """The domains with operators."""
        return self._domains

    def latest_version(self, domain: str) -> int:
        """Return the highest version of the domain that changed an operator."""
        return max((op.since_version for op in self if op.domain == domain), default=1)

    def find(self, domain: str, op_type: str, version: int | None) -> type[QonnxOp] | None:
        """Return the operator that a model importing ``version`` of the domain means; a missing import means 1."""
        versions = self._versions.get((DOMAIN_ALIASES.get(domain, domain), op_type), {})
        if len(versions) == 1:  # most operators never changed
            [(since, only)] = versions.items()
            return only if since <= (version or 1) else None
        usable = [since for since in versions if since <= (version or 1)]
        return versions[max(usable)] if usable else None


def _origin(op: type[QonnxOp]) -> str:
    return f"{op.__module__}.{op.__qualname__}"


@functools.cache
def default_registry() -> OpRegistry:
    """Return the operators of this package and of every installed plug-in (group ``qonnx_core.ops``)."""
    from qonnx_core import plugins  # the plug-ins import this package in turn

    registry = OpRegistry(BUILT_IN)
    for name, op in plugins.ops().items():
        if not (isinstance(op, type) and issubclass(op, QonnxOp)):
            raise QonnxError(f"plug-in {name} of group qonnx_core.ops: found {op!r}; expected a subclass of QonnxOp.")
        registry.add(op)
    return registry


def op_of(node: ir.Node, opset_imports: dict[str, int] | None = None) -> QonnxOp | None:
    """Return the operator that a node calls, with its attributes, or None for nodes that are not ours.

    ``opset_imports`` is that of the model. Without it the graph of the node is asked, which is enough except for nodes
    inside If and Loop.

    Raises:
        InvalidModel: the node breaks its operator's format.
    """
    found = op_class_of(node, opset_imports)
    return None if found is None else found.from_node(node)


def op_class_of(node: ir.Node, opset_imports: dict[str, int] | None = None) -> type[QonnxOp] | None:
    """Return the class of the operator that a node calls, or None for nodes that are not ours."""
    if node.domain in ("", "ai.onnx"):
        return None
    registry = default_registry()
    if opset_imports is None:
        opset_imports = {} if node.graph is None else dict(node.graph.opset_imports)
    imported = opset_imports.get(node.domain, opset_imports.get(DOMAIN_ALIASES.get(node.domain, node.domain)))
    found = registry.find(node.domain, node.op_type, imported)
    if found is not None:
        return found
    named = node.op_type in LISTED_ONLY or node.domain == "finn"
    if DOMAIN_ALIASES.get(node.domain, node.domain) in registry.domains and not named:
        known = sorted({op.op_type for op in registry if op.domain == DOMAIN_ALIASES.get(node.domain, node.domain)})
        raise InvalidModel(
            f"{node.name or node.outputs[0].name}: operator {node.domain}::{node.op_type} is not defined for version "
            f"{imported or 1}; expected one of {', '.join(known)}. Install the plug-in that defines it."
        )
    return None


def is_defined(node: ir.Node) -> bool:
    """Return whether standard ONNX or the format defines the operator, so that its name says what it computes.

    An ``Add`` of another domain can be anything.
    """
    if node.domain in ("", "ai.onnx"):
        return bool(onnx.defs.has(node.op_type))
    return node.domain in (DOMAIN, CHANNELS_LAST)


def check_parameters(model: ir.Model) -> None:
    """Return nothing where parameters of our operators are numbers, and inputs go together as far as shapes are known.

    Raises:
        InvalidModel: names the first node whose inputs do not.
    """
    for graph in graphs_of(model):
        for node in graph:
            found = op_class_of(node, model.opset_imports)
            if found is None:
                continue
            for name, value in zip(found.inputs[1:], node.inputs[1:], strict=False):
                if value is not None and value.dtype in _NO_NUMBERS:
                    raise InvalidModel(
                        f"{label_of(node)}: input {name} is of element type "
                        f"{value.dtype.name}; expected numbers. Export it again."
                    )
            shapes = [None if value is None or value.shape is None else _dims(value) for value in node.inputs]
            try:
                found.check_shapes(shapes)
            except InvalidModel as error:
                raise InvalidModel(f"{label_of(node)}: {error}") from error


def _dims(value: ir.Value) -> tuple[int | str | None, ...]:
    assert value.shape is not None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
