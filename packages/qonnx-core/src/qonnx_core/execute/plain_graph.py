"""The plain ONNX graph of a model, made in one sweep, from which sessions with any outputs are opened."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput, Unsupported
from qonnx_core.execute.automatic_pads import needs_pads
from qonnx_core.execute.constant_steps import compute
from qonnx_core.execute.element_types import element_type
from qonnx_core.execute.lower import errors_of
from qonnx_core.execute.optimizers import Obstacles
from qonnx_core.execute.steps import Expander, Expansion, Step
from qonnx_core.formats.ir_versions import ir_version_of_opsets
from qonnx_core.formats.opsets import TARGET_OPSET, is_current
from qonnx_core.ir.constants import constant_array, constant_tensor
from qonnx_core.ir.graphs import reads_of
from qonnx_core.ir.names import label_of
from qonnx_core.ops.builder import Operand
from qonnx_core.ops.debug_marker import DebugMarker
from qonnx_core.ops.op import DOMAIN, QonnxOp
from qonnx_core.ops.registry import op_of
from qonnx_core.passes.base import has_graphs, is_standard

Array = NDArray[Any]

ELSEWHERE = "elsewhere"  # an empty file beside this one, which the graph names instead of the data of large tensors
_INSIDE_BYTES = 4096  # larger tensors stay beside the graph, in the memory where they are
_KEPT_BYTES = 2**24  # more than this is left to the model where it is no longer needed
_SHARED_TYPES = frozenset("fiu")  # kinds of numpy arrays that onnxruntime takes from memory
_MIN_IR_VERSION = 10


class NotReady(Exception):  # no error: the model takes the longer way
    """The model has to be copied and normalised before its plain graph can be written."""


class PlainGraph:
    """A model in plain ONNX, with the tensor names of the model; the model is only read.

    Quantizers of constants are computed, so a session holds the weights that it multiplies with and no others. Large
    tensors are not copied into the graph: a session reads them where they are.

    Attributes:
        proto: the graph, without outputs and large tensors.
        large: the large tensors by name; sessions read them, so they live as long as the sessions do.
        obstacles: whether there is a Transpose, and what keeps onnxruntime from moving it.
    """

    def __init__(self, model: ir.Model, *, prepared: bool, inputs: Sequence[ir.Value] | None = None) -> None:
        """Write the graph.

        Args:
            model: the model.
            prepared: whether it is normalised and its element types and shapes are inferred. Otherwise they are
                derived along the way, and what a file says about inner tensors is not looked at.
            inputs: values that stand for the inputs of the graph, where these are to have other shapes.

        Raises:
            NotReady: the model has to be prepared first, or nodes of it hold graphs (then ``lower`` has to come first).
            InvalidModel: a node breaks the format of its operator.
            Unsupported: an operator belongs to the format, but nothing here defines it.
        """
        self.proto = onnx.ModelProto(ir_version=max(ir_version_of_opsets(model.opset_imports), _MIN_IR_VERSION))
        self.large: dict[str, onnxruntime.OrtValue] = {}
        self.obstacles = Obstacles()
        self._graph = self.proto.graph
        self._graph.name = model.graph.name or "graph"
        self._prepared = prepared
        self._types: dict[ir.Value, ir.DataType | None] = {}
        self._names: set[str] = set()
        self._folded: dict[ir.Value, Array] = {}
        self._unread: dict[str, ir.TensorProtocol] = {}
        self._left: dict[str, weakref.ref[ir.TensorProtocol]] = {}
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._mark = _mark(model.graph)
        self._expander = Expander()
        self._imports = model.opset_imports
        self._inputs = dict(zip(model.graph.inputs, inputs or model.graph.inputs, strict=True))
        self._write(model)
        if sum(array.nbytes for array in self._folded.values()) > _KEPT_BYTES:
            self._let_go(model.graph)
        for attribute in ("_types", "_folded", "_shared", "_imports", "_inputs", "_expander"):
            delattr(self, attribute)

    def with_outputs(self, names: Sequence[str]) -> onnx.ModelProto:
        """Return the graph with the tensors of these names as outputs; the same object every time.

        Large tensors among them that no node reads are added to ``large``.

        Raises:
            InvalidInput: a large parameter was quantized ahead, and the model that held it is gone.
        """
        del self._graph.output[:]
        for name in names:
            if name in self._unread:
                self._add_tensor(name, self._unread.pop(name))
            elif name in self._left:
                tensor = self._left[name]()
                if tensor is None:
                    raise InvalidInput(
                        f"tensor {name}: is a parameter that was quantized ahead, and the model that held it is gone; "
                        "expected a tensor that is computed. Keep the model as long as its parameters are asked for."
                    )
                del self._left[name]
                self._add_tensor(name, tensor)
            self._graph.output.add(name=name)
        return self.proto

    def _let_go(self, graph: ir.Graph) -> None:
        """Leave the parameters that no node reads to the model, so that they do not stay beside the quantized ones."""
        stored = set(graph.initializers)
        for name, tensor in list(self._unread.items()):
            if name in stored or isinstance(tensor, ir.serde.TensorProtoTensor):
                self._left[name] = weakref.ref(tensor)
                del self._unread[name]

    def _write(self, model: ir.Model) -> None:
        graph = model.graph
        version = model.opset_imports.get("")
        if version is None or (model.functions and not self._prepared):
            raise NotReady
        self.proto.opset_import.add(domain="", version=max(version, TARGET_OPSET))
        for value in graph.inputs:
            if value.is_initializer():
                raise NotReady
            self._define(value, value.dtype)
            ir.serde.serialize_value_into(self._graph.input.add(), self._inputs[value])
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is None:
                raise NotReady
            self._define(value, tensor.dtype)
            self._unread[value.name or ""] = tensor
        domains = {""}
        node_names: set[str] = set()
        for node in graph:
            if node.name:
                if node.name in node_names:
                    raise NotReady
                node_names.add(node.name)
            for read in node.inputs:
                if read is not None and read not in self._types:
                    raise NotReady
            self._write_node(node, version)
            domains.add(node.domain)
        for value in graph.outputs:
            if value not in self._types:
                raise NotReady
        for domain in sorted(domains - {"", DOMAIN}):
            if domain in model.opset_imports:
                self.proto.opset_import.add(domain=domain, version=model.opset_imports[domain])

    def _define(self, value: ir.Value, dtype: ir.DataType | None) -> None:
        name = value.name
        if not name or name in self._names:
            raise NotReady
        self._names.add(name)
        self._types[value] = dtype

    def _write_node(self, node: ir.Node, version: int) -> None:
        if is_standard(node):
            if not self._prepared and (has_graphs(node) or not is_current(node, version) or needs_pads(node)):
                raise NotReady
            self._define_outputs(node, element_type(node, self._types))
            tensor = constant_tensor(node.outputs[0]) if node.op_type == "Constant" else None
            if tensor is not None:
                self._types[node.outputs[0]] = tensor.dtype
                self._unread[node.outputs[0].name or ""] = tensor
                return
            self._write_standard(node)
            return
        op = op_of(node, self._imports)
        if op is None and node.domain == DOMAIN and self._prepared:
            raise Unsupported(
                f"{label_of(node)}: is an operator of the format that cannot "
                "be run yet; expected one of those in qonnx_core.ops. Install a plug-in that defines it."
            )
        if op is None:
            if not self._prepared:
                raise NotReady
            self._define_outputs(node, None)
            self._write_standard(node)
            return
        if not self._prepared and (node.domain not in self._imports or isinstance(op, DebugMarker)):
            raise NotReady
        self._write_ours(node, op)

    def _define_outputs(self, node: ir.Node, dtype: ir.DataType | None) -> None:
        for index, value in enumerate(node.outputs):
            if value.name:
                self._define(value, value.dtype if self._prepared else dtype if index == 0 else None)

    def _write_standard(self, node: ir.Node) -> None:
        for value in reads_of(node):
            self._use(value)
        self.obstacles.see(node)
        if has_graphs(node):
            ir.serde.serialize_node_into(self._graph.node.add(), node)
            return
        written = self._graph.node.add(
            op_type=node.op_type,
            domain="" if node.domain == "ai.onnx" else node.domain,
            name=node.name or "",
            input=["" if value is None else value.name or "" for value in node.inputs],
            output=[value.name or "" for value in node.outputs],
        )
        for attribute in node.attributes.values():
            ir.serde.serialize_attribute_into(written.attribute.add(), attribute)

    def _write_ours(self, node: ir.Node, op: QonnxOp) -> None:
        data = node.inputs[0]
        assert data is not None
        old = node.outputs[0]
        dtype = data.dtype if self._prepared else self._types[data]
        if dtype is None:
            raise NotReady
        parameters = [value if (known := self._known(value)) is None else known for value in node.inputs[1:]
                      if value is not None]  # fmt: skip
        known = self._known(data)
        x = ir.Value(name=data.name, type=ir.TensorType(dtype), shape=data.shape if self._prepared else None)
        if known is not None:
            x.shape = ir.Shape(known.shape)
        elif not self._prepared:
            if data in self._inputs:
                x.shape = self._inputs[data].shape
            elif not op.broadcasts or any(not _is_scalar(parameter) for parameter in parameters):
                raise NotReady  # the definition depends on the shape of the data
        self._define(old, dtype)
        folded = None
        with errors_of(node):
            expansion = self._expander.expand(op, x, parameters)
            if known is not None and all(map(_is_known, parameters)):
                if not self._prepared and op.broadcasts and _widen(known, parameters):
                    raise NotReady  # the size of the result has to be checked before it is made
                folded = compute(expansion, known)
        if folded is not None:
            self._folded[old] = folded
            self._unread[old.name or ""] = ir.Tensor(folded, name=old.name)
            return
        self._write_steps(expansion, data, old.name or "")

    def _write_steps(self, expansion: Expansion, data: ir.Value, output: str) -> None:
        prefix = f"{output}{self._mark}"
        names: dict[ir.Value, str] = {}
        for number, step in enumerate(expansion.steps):
            for index, value in enumerate(step.outputs):
                names[value] = f"{prefix}{number}_{index}" if index else f"{prefix}{number}"
        result = expansion.result
        is_made = result in names
        if is_made:
            names[result] = output
        constants = expansion.constants

        def name_of(value: ir.Value) -> str:
            if value in names:
                return names[value]
            if value in constants:
                return self._constant(constants[value])
            source = data if value is expansion.x else value
            self._use(source)
            return source.name or ""

        for number, step in enumerate(expansion.steps):
            self._write_step(step, f"{prefix}{number}", [name_of(value) for value in step.inputs], names)
        if not is_made:
            self._graph.node.add(op_type="Identity", name=f"{prefix}0", input=[name_of(result)], output=[output])

    def _write_step(self, step: Step, name: str, inputs: Sequence[str], names: Mapping[ir.Value, str]) -> None:
        self.obstacles.transposes |= step.op_type == "Transpose"
        written = self._graph.node.add(
            op_type=step.op_type, name=name, input=inputs, output=[names[value] for value in step.outputs]
        )
        for key, value in step.attributes.items():
            attribute = value if isinstance(value, ir.Attr) else ir.convenience.convert_attribute(key, value)
            if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
                raise NotReady  # the inner graph reads values by name, so they have to be in the model
            ir.serde.serialize_attribute_into(written.attribute.add(), attribute)

    def _known(self, value: ir.Value | None) -> Array | None:
        if value is None:
            return None
        folded = self._folded.get(value)
        return constant_array(value) if folded is None else folded

    def _use(self, value: ir.Value) -> None:
        """Write the tensor behind a constant that is read for the first time."""
        name = value.name or ""
        if name in self._unread:
            self._add_tensor(name, self._unread.pop(name))

    def _constant(self, array: Array) -> str:
        """Return the name of a constant with this content; equal ones are one."""
        if array.nbytes > _INSIDE_BYTES:
            return self._add_constant(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            self._shared[key] = self._add_constant(array)
        return self._shared[key]

    def _add_constant(self, array: Array) -> str:
        name = f"{self._mark}{len(self._graph.initializer)}"
        self._add_tensor(name, ir.Tensor(array, name=name))
        return name

    def _add_tensor(self, name: str, tensor: ir.TensorProtocol) -> None:
        if tensor.nbytes > _INSIDE_BYTES and tensor.dtype.numpy().kind in _SHARED_TYPES:
            array = np.ascontiguousarray(tensor.numpy())
            self.large[name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
            added = self._graph.initializer.add(
                name=name, data_type=int(tensor.dtype), dims=array.shape, data_location=onnx.TensorProto.EXTERNAL
            )
            added.external_data.add(key="location", value=ELSEWHERE)
            return
        if tensor.dtype == ir.DataType.STRING:
            added = self._graph.initializer.add()
            ir.serde.serialize_tensor_into(added, tensor)
            added.name = name
            return
        dims = [int(str(dim)) for dim in tensor.shape]
        self._graph.initializer.add(name=name, data_type=int(tensor.dtype), dims=dims, raw_data=tensor.tobytes())


def _mark(graph: ir.Graph) -> str:
    """Return a text that is in no name of a node or tensor, so that names with it are new."""
    names = [*(value.name for value in graph.inputs), *graph.initializers]
    for node in graph:
        names.append(node.name)
        names.extend([value.name for value in node.outputs])
    every, mark = "\n".join([name for name in names if name]), "~"
    while mark in every:
        mark += "~"
    return mark


def _widen(array: Array, parameters: Sequence[Operand]) -> bool:
    return (
        np.broadcast_shapes(array.shape, *(np.shape(np.asarray(parameter)) for parameter in parameters)) != array.shape
    )


def _is_scalar(parameter: Operand) -> bool:
    if isinstance(parameter, np.ndarray):  # arrays are told faster than values
        return parameter.ndim == 0
    return not isinstance(parameter, ir.Value) and np.ndim(parameter) == 0


def _is_known(parameter: Operand) -> bool:
    return isinstance(parameter, np.ndarray) or not isinstance(parameter, ir.Value)  # arrays are told faster
