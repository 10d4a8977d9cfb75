"""Changes model files so that they stay whole and say something unusual: other types, forms and places of the same."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable

import numpy as np
import onnx

_QONNX = "qonnx.custom_op.general"
_ELEMENT_TYPES = tuple(kind for kind in onnx.TensorProto.DataType.values() if kind)
_EXTREMES = (np.inf, -np.inf, np.nan, 0.0, -0.0, -1.0, 1e-45, 1e-38, 3e38, 1e30, 0.3, 2.0**-126, 2.0**127, 2.0**24 + 1)
_WIDTHS = (0, -1, 1, 2.5, 8, 24, 25, 31, 32, 33, 53, 63, 64, 65, 127, 128, 129, 1000, 1e9, 1e38, np.inf, np.nan)


def _node(model: onnx.ModelProto, generator: random.Random) -> onnx.NodeProto:
    return generator.choice(model.graph.node)


def _tensor(model: onnx.ModelProto, generator: random.Random) -> onnx.TensorProto:
    return generator.choice(model.graph.initializer)


def _small_tensor(model: onnx.ModelProto, generator: random.Random) -> onnx.TensorProto:
    small = [tensor for tensor in model.graph.initializer
             if np.prod([float(d) for d in tensor.dims]) <= 4096 and not tensor.external_data]  # fmt: skip
    return generator.choice(small)


def _other_element_type(model: onnx.ModelProto, generator: random.Random) -> None:
    """Store a tensor in another element type, rightly encoded: floats of 8 bits, packed 4 bits, texts, complex."""
    tensor = _small_tensor(model, generator)
    kind, count = generator.choice(_ELEMENT_TYPES), int(np.prod(tensor.dims))
    if kind == onnx.TensorProto.STRING:
        made = onnx.helper.make_tensor(tensor.name, kind, tensor.dims, [b"1.5"] * count)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = onnx.numpy_helper.to_array(tensor).astype(np.float64).reshape(-1)
            made = onnx.helper.make_tensor(tensor.name, kind, tensor.dims, values.tolist())
    tensor.CopyFrom(made)


def _raw_length(model: onnx.ModelProto, generator: random.Random) -> None:
    """Store a tensor as raw bytes, of which there are too many or too few, or for other dimensions."""
    tensor = _small_tensor(model, generator)
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    match generator.randrange(4):
        case 0:
            tensor.raw_data = tensor.raw_data[:-1]
        case 1:
            tensor.raw_data += b"\0" * generator.choice([1, 3, 4])
        case 2:
            tensor.dims.append(generator.choice([0, 1, 2]))
        case _:
            del tensor.dims[:]


def _quantizer_extremes(model: onnx.ModelProto, generator: random.Random) -> None:
    """Give a quantizer parameters at the ends of what floats hold, or bit widths that no integer has."""
    ours = [node for node in model.graph.node if node.domain and len(node.input) > 2]
    ours += [node for node in model.graph.node if node.op_type.endswith("quantizeLinear")]
    node = generator.choice(ours)
    for place in generator.sample(range(1, len(node.input)), generator.randrange(1, len(node.input))):
        for tensor in model.graph.initializer:
            if tensor.name == node.input[place] and tensor.data_type == onnx.TensorProto.FLOAT:
                count = int(np.prod(tensor.dims))
                pool = _WIDTHS if place > 2 else _EXTREMES
                values = [float(np.float32(generator.choice(pool))) for _ in range(min(count, 64))] * (count // 64 + 1)
                tensor.CopyFrom(
                    onnx.helper.make_tensor(tensor.name, onnx.TensorProto.FLOAT, tensor.dims, values[:count])
                )


def _typed_attribute(model: onnx.ModelProto, generator: random.Random) -> None:
    """Give an attribute a whole value of another type: a tensor, a list, a graph, a type."""
    node = generator.choice([node for node in model.graph.node if node.attribute])
    place = generator.randrange(len(node.attribute))
    name = node.attribute[place].name
    graph = onnx.helper.make_graph([], "empty", [], [])
    values = (
        *(1, -1, 2**63 - 1, 0.5, float("nan"), "ROUND", b"\xff\xfe", [1, 2], [0.5, 1.0], ["a", "b"], graph, [graph]),
        *(onnx.numpy_helper.from_array(np.ones((2, 2), np.float32)), onnx.helper.make_tensor_type_proto(1, [2])),
    )
    node.attribute[place].CopyFrom(onnx.helper.make_attribute(name, generator.choice(values)))


def _twin(model: onnx.ModelProto, generator: random.Random) -> None:
    """List an input, output, parameter, node, opset or annotation a second time, changed or not."""
    graph = model.graph
    lists = (graph.input, graph.output, graph.initializer, graph.node, graph.value_info, model.opset_import)
    items = generator.choice([*lists, graph.quantization_annotation, model.functions, model.metadata_props])
    items.add().CopyFrom(generator.choice(items))
    if generator.random() < 0.5 and items is graph.initializer:
        items[-1].dims.append(1)


def _into_function(model: onnx.ModelProto, generator: random.Random) -> None:
    """Move a node into the body of a function, some of its attributes given by the call, or by nobody."""
    place = generator.randrange(len(model.graph.node))
    node = model.graph.node[place]
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    inputs = [f"in_{number}" if name else "" for number, name in enumerate(node.input)]
    inner.input[:] = inputs
    inner.output[:] = [f"out_{number}" for number in range(len(node.output))]
    given = [each.name for each in node.attribute if not each.HasField("g") and generator.random() < 0.5]
    for attribute in inner.attribute:
        if attribute.name in given:
            kind = attribute.type
            attribute.CopyFrom(onnx.AttributeProto(name=attribute.name, ref_attr_name=attribute.name, type=kind))
    names = [name if name else f"empty_{number}" for number, name in enumerate(inputs)]
    function = onnx.helper.make_function("moved", "Moved", names, inner.output, [inner], model.opset_import, given)
    model.functions.append(function)
    call = onnx.helper.make_node("Moved", node.input, node.output, name=node.name, domain="moved")
    call.attribute.extend(each for each in node.attribute if each.name in given and generator.random() < 0.8)
    model.graph.node[place].CopyFrom(call)
    model.opset_import.add(domain="moved", version=1)


def _into_branch(model: onnx.ModelProto, generator: random.Random) -> None:
    """Move a node into both branches of an If, where it captures what it reads, or into a Loop that runs once."""
    place = generator.randrange(len(model.graph.node))
    node = onnx.NodeProto()
    node.CopyFrom(model.graph.node[place])
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    inner.output[:] = [f"inner_{number}" for number in range(len(node.output))]
    outputs = [onnx.ValueInfoProto(name=name) for name in inner.output]
    branch = onnx.helper.make_graph([inner], "branch", [], outputs)
    if generator.random() < 0.3:  # a parameter of the branch's own, maybe with the name of an outer one
        branch.initializer.add().CopyFrom(_tensor(model, generator))
    model.graph.initializer.append(onnx.helper.make_tensor("branch_condition", onnx.TensorProto.BOOL, [], [True]))
    made = onnx.helper.make_node("If", ["branch_condition"], node.output, then_branch=branch, else_branch=branch)
    model.graph.node[place].CopyFrom(made)


def _through(model: onnx.ModelProto, generator: random.Random) -> None:
    """Lead an input of a node through a sequence, an optional, a text, a sparse or complex form, or another domain."""
    node = _node(model, generator)
    place = generator.randrange(len(node.input))
    make, kind = onnx.helper.make_node, generator.choice(_ELEMENT_TYPES)
    domain, seen = generator.choice(["ai.onnx", "com.microsoft", "unknown", _QONNX]), generator.choice(["", "x"])
    index = onnx.helper.make_tensor("through_index", onnx.TensorProto.INT64, [], [0])
    model.graph.initializer.append(index)
    ways = (
        [make("SequenceConstruct", ["IN"], ["through_a"]), make("SequenceAt", ["through_a", index.name], ["OUT"])],
        [make("Optional", ["IN"], ["through_a"]), make("OptionalGetElement", ["through_a"], ["OUT"])],
        [make("Cast", ["IN"], ["through_a"], to=8), make("Cast", ["through_a"], ["OUT"], to=1)],
        [make("Cast", ["IN"], ["through_a"], to=kind), make("Cast", ["through_a"], ["OUT"], to=1)],
        [make("SplitToSequence", ["IN"], ["through_a"]), make("ConcatFromSequence", ["through_a"], ["OUT"], axis=0)],
        [make("Identity", ["IN"], ["OUT"], domain=domain)],
        [make("DebugMarker", ["IN"], ["OUT"], domain=_QONNX, export_debug_name=seen)],
        [make("Dropout", ["IN"], ["OUT", "through_mask"])],
        [make("Transpose", ["IN"], ["through_a"]), make("Transpose", ["through_a"], ["OUT"])],
        [make("Shape", ["IN"], ["through_a"]), make("Reshape", ["IN", "through_a"], ["OUT"])],
        [make("Unique", ["IN"], ["OUT"])],
    )  # fmt: skip
    chain = generator.choice(ways)
    for each in chain:
        for names in (each.input, each.output):
            names[:] = [{"IN": node.input[place], "OUT": "through_b"}.get(name, name) for name in names]
    node.input[place] = "through_b"
    for each in reversed(chain):
        model.graph.node.insert(0, each)


def _other_domain(model: onnx.ModelProto, generator: random.Random) -> None:
    """Move a node to another domain, under the same name: its meaning is then another."""
    node = _node(model, generator)
    domains = ["", "ai.onnx", "unknown", "com.microsoft", "ai.onnx.ml", "onnx.brevitas", "finn", _QONNX]
    node.domain = generator.choice([*domains, "finn.custom_op.general", "qonnx.custom_op.channels_last"])
    if generator.random() < 0.8 and all(entry.domain != node.domain for entry in model.opset_import):
        model.opset_import.add(domain=node.domain, version=generator.choice([1, 1, 2, 13]))


def _free_sizes(model: onnx.ModelProto, generator: random.Random) -> None:
    """Leave sizes of inputs and outputs open, under names that may be the same, or take shapes away."""
    for info in (*model.graph.input, *model.graph.output):
        if generator.random() < 0.2:
            info.type.tensor_type.ClearField("shape")
        for dim in info.type.tensor_type.shape.dim:
            if generator.random() < 0.5:
                dim.dim_param = generator.choice(["N", "N", "M", "batch", ""])


def _older_opset(model: onnx.ModelProto, generator: random.Random) -> None:
    """Say that the model, whose nodes stay as they are, is of another opset or of another version of our domain."""
    for entry in model.opset_import:
        if entry.domain == "":
            entry.version = generator.randrange(7, 26)
        else:
            entry.version = generator.choice([1, 1, 2, 3, 14])


def _more_messages(model: onnx.ModelProto, generator: random.Random) -> None:
    """Add what files seldom hold: training, devices, overloads, metadata at every place, sparse parameters."""
    match generator.randrange(5):
        case 0:
            training = model.training_info.add()
            training.algorithm.CopyFrom(model.graph)
            training.initialization_binding.add(key=_tensor(model, generator).name, value="x")
        case 1:
            for item in (model, model.graph, _node(model, generator), _tensor(model, generator)):
                for _ in range(2):
                    item.metadata_props.add(key=generator.choice(["", "a", "qonnx.order"]), value="{}")
        case 2:
            _node(model, generator).overload = "other"
        case 3:
            tensor = _small_tensor(model, generator)
            dense = onnx.numpy_helper.to_array(tensor)
            places = np.flatnonzero(dense).astype(np.int64)
            values = onnx.numpy_helper.from_array(dense.reshape(-1)[places], tensor.name)
            sparse = onnx.helper.make_sparse_tensor(values, onnx.numpy_helper.from_array(places, "places"), dense.shape)
            if generator.random() < 0.5:
                model.graph.initializer.remove(tensor)
            model.graph.sparse_initializer.append(sparse)
        case _:
            info = generator.choice([*model.graph.input, *model.graph.output])
            info.type.denotation = "IMAGE"
            model.graph.value_info.add().CopyFrom(info)


def _other_layout(model: onnx.ModelProto, generator: random.Random) -> None:
    """Give the texts and lists of a node of ours other values of their kind."""
    node = generator.choice([node for node in model.graph.node if node.domain and node.attribute])
    attribute = generator.choice(node.attribute)
    texts = ["NCHW", "NHWC", "NC", "NCW", "NWC", "C", "", "UINT2", "INT8", "FLOAT32", "BIPOLAR", "FIXED<4,2>",
             "FLOOR", "half_up", "ROUND_TO_ZERO", "(1,1,1,1)", "(1,6,6,2)"]  # fmt: skip
    if attribute.type == onnx.AttributeProto.STRING:
        attribute.s = generator.choice(texts).encode()
    elif attribute.type == onnx.AttributeProto.INTS:
        attribute.ints[:] = [generator.choice([0, 1, 2, 3, 5, 2**31]) for _ in range(generator.choice([0, 1, 2, 4]))]
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = generator.choice([0, 1, 2, 3, 4, 31, 32, 33, 64, 2**31, -1])
    else:
        attribute.f = float(np.float32(generator.choice(_EXTREMES)))


STRUCTURE: tuple[Callable[[onnx.ModelProto, random.Random], None], ...] = (
    *(_other_element_type, _other_element_type, _raw_length, _quantizer_extremes, _quantizer_extremes),
    *(_typed_attribute, _twin, _into_function, _into_branch, _through, _through, _other_domain, _free_sizes),
    *(_older_opset, _more_messages, _other_layout),
)
