"""Damages model files in every way that a file can be damaged, and in those that somebody would choose."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message
from onnx.checker import ValidationError

from qonnx_core.testing.mutations_of_structure import STRUCTURE

INTEGERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    127,
    -128,
    255,
    2**16,
    2**24,
    2**31 - 1,
    -(2**31),
    2**32,
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e38, -1e38, 1e9, 2.5, 33.0, 64.0, 2000.0, math.inf, -math.inf, math.nan)
TEXTS = (
    *(
        "",
        " ",
        "x",
        "..",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:\\x",
        "a\0b",
        "\n",
        "%n%s",
        "{x}",
        "$(ls)",
    ),
    *(
        "\u202e",
        "名",
        "N" * 5000,
        "ai.onnx",
        "qonnx.custom_op.general",
        "finn",
        "os",
        "__import__('os')",
        "ROUND",
        "NC",
    ),
    *("INT4", "UINT0", "INT99999999999", "FIXED<4,9>", "FLOAT<99,99>", "SCALEDINT<-1>", "['N', 'C']", "(1, -1, 1, 1)"),
    *("child.onnx", "m.onnx", "w.bin", "-1", "99999999999999999999", "1e400"),
)
OP_TYPES = (
    *("Quant", "IntQuant", "BipolarQuant", "Trunc", "FloatQuant", "MultiThreshold", "QuantAvgPool2d", "DebugMarker"),
    *("XnorPopcountMatMul", "MaxPoolNHWC", "Im2Col", "GenericPartition", "Identity", "Add", "MatMul", "Gemm", "Conv"),
    *("BatchNormalization", "Reshape", "Transpose", "Concat", "Split", "Resize", "Pad", "Tile", "Expand", "Range"),
    *("ConstantOfShape", "If", "Loop", "Constant", "QuantizeLinear", "DequantizeLinear", "Clip", "Cast", "TopK"),
    *("Shape", "Gather", "Unsqueeze", "Squeeze", "Slice", "OneHot", "EyeLike", "RandomNormal", "SequenceConstruct"),
    *("Optional", "LSTM", "Einsum", "Scan", "StringNormalizer", "NonZero", "GatherND", "Softmax", "ConvTranspose"),
)
DOMAINS = ("", "ai.onnx", "qonnx.custom_op.general", "qonnx.custom_op.channels_last", "onnx.brevitas", "finn", "this",
           "com.microsoft", "ai.onnx.ml", "unknown.domain")  # fmt: skip

Mutation = Callable[[onnx.ModelProto, random.Random], None]


def mutate_bytes(content: bytes, generator: random.Random) -> bytes:
    """Return the bytes with a few of them changed, removed, repeated or moved."""
    data = bytearray(content)
    for _ in range(generator.choice([1, 1, 1, 2, 4, 8])):
        if not data:
            break
        place = generator.randrange(len(data))
        match generator.randrange(5):
            case 0:
                data[place] = generator.randrange(256)
            case 1:
                data[place] ^= 1 << generator.randrange(8)
            case 2:
                del data[place : place + generator.choice([1, 2, 4, 64])]
            case 3:
                other = generator.randrange(len(data))
                data[place:place] = data[other : other + generator.choice([1, 4, 16, 256])]
            case _:
                data[place : place + 1] = bytes(generator.choice([b"\xff" * 9 + b"\x01", b"\x80", b"\0", b"\x7f"]))
    return bytes(data)


def mutate_model(model: onnx.ModelProto, generator: random.Random) -> None:
    """Change the message in place by one to three mutations, any field or one that is aimed at a weak place."""
    for _ in range(generator.choice([1, 1, 2, 3])):
        kind = generator.random()
        mutation = any_field if kind < 0.3 else generator.choice(MUTATIONS if kind < 0.6 else STRUCTURE)
        try:
            mutation(model, generator)
        except (ValueError, TypeError, IndexError, OverflowError, DecodeError, OSError, ValidationError):
            continue  # there is nothing of this kind in the model, or protobuf itself refuses the value


def any_field(model: onnx.ModelProto, generator: random.Random) -> None:
    """Change one field of one message anywhere in the model."""
    message = generator.choice(_messages(model))
    field = generator.choice(message.DESCRIPTOR.fields)
    current = getattr(message, field.name)
    if _is_repeated(current):
        _change_list(current, field, model, generator)
    elif isinstance(current, Message):
        if generator.random() < 0.3:
            message.ClearField(field.name)
        else:
            alike = [other for other in _messages(model) if other.DESCRIPTOR is current.DESCRIPTOR]
            copy = type(current)()
            if alike:
                copy.CopyFrom(generator.choice(alike))
            current.CopyFrom(copy)
    elif generator.random() < 0.15:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _other(current, model, generator))


def _is_repeated(value: Any) -> bool:
    return not isinstance(value, str | bytes | int | float | Message)


def _messages(model: onnx.ModelProto) -> list[Message]:
    """Return all messages inside, at most some thousands, none deeper than forty."""
    found: list[Message] = []
    waiting: list[tuple[Message, int]] = [(model, 0)]
    while waiting and len(found) < 4000:
        message, depth = waiting.pop()
        found.append(message)
        if depth < 40:
            for _, value in message.ListFields():
                if isinstance(value, Message):
                    waiting.append((value, depth + 1))
                elif _is_repeated(value) and len(value) and isinstance(value[0], Message):
                    waiting.extend((inner, depth + 1) for inner in value)
    return found


def _change_list(items: Any, field: Any, model: onnx.ModelProto, generator: random.Random) -> None:
    if len(items) and generator.random() < 0.8:
        place = generator.randrange(len(items))
        match generator.randrange(3):
            case 0:
                del items[place]
            case 1:
                items.append(items[place])
            case _:
                other = items[generator.randrange(len(items))]
                if isinstance(other, Message):
                    copy = type(other)()
                    copy.CopyFrom(other)
                    items[place].CopyFrom(copy)
                else:
                    items[place] = _other(items[place], model, generator)
    elif field.message_type is not None:
        items.add()
    else:
        sample: Any = {9: "", 12: b"", 1: 0.0, 2: 0.0}.get(field.type, 0)
        items.append(_other(sample, model, generator))


def _other(value: Any, model: onnx.ModelProto, generator: random.Random) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool | int):
        return generator.choice([value + 1, value - 1, value * 2, *INTEGERS])
    if isinstance(value, float):
        return generator.choice(FLOATS)
    if isinstance(value, bytes):
        size = len(value)
        options = [b"", value[: size // 2], value + b"\0", value * 2, b"\xff" * size, b"\xff\xfe", b"a\0b", b"0" * 300]
        return generator.choice(options)
    names = [text for node in model.graph.node for text in (*node.input, *node.output)]
    return generator.choice([*names, *TEXTS]) if generator.random() < 0.5 else generator.choice(TEXTS)


def _node(model: onnx.ModelProto, generator: random.Random) -> onnx.NodeProto:
    return generator.choice(model.graph.node)


def _tensor(model: onnx.ModelProto, generator: random.Random) -> onnx.TensorProto:
    return generator.choice(model.graph.initializer)


def _cycle(model: onnx.ModelProto, generator: random.Random) -> None:
    node, other = _node(model, generator), _node(model, generator)
    node.input[generator.randrange(len(node.input))] = generator.choice(other.output)


def _duplicate_name(model: onnx.ModelProto, generator: random.Random) -> None:
    node, other = _node(model, generator), _node(model, generator)
    node.output[0] = generator.choice([other.output[0], model.graph.input[0].name, _tensor(model, generator).name])


def _dims(model: onnx.ModelProto, generator: random.Random) -> None:
    tensor = _tensor(model, generator)
    size = generator.choice(INTEGERS)
    if generator.random() < 0.5 and tensor.dims:
        tensor.dims[generator.randrange(len(tensor.dims))] = size
    else:
        tensor.dims[:] = [generator.choice(INTEGERS) for _ in range(generator.choice([1, 2, 9]))]


def _info_dims(model: onnx.ModelProto, generator: random.Random) -> None:
    info = generator.choice([*model.graph.input, *model.graph.output, *model.graph.value_info])
    shape = info.type.tensor_type.shape
    if generator.random() < 0.3:
        shape.dim.add(dim_value=generator.choice(INTEGERS))
    elif generator.random() < 0.3:
        generator.choice(shape.dim).dim_param = generator.choice(TEXTS)
    else:
        generator.choice(shape.dim).dim_value = generator.choice(INTEGERS)


def _element_type(model: onnx.ModelProto, generator: random.Random) -> None:
    kind = generator.choice([0, 1, 2, 7, 8, 9, 10, 11, 14, 16, 17, 21, 22, 23, 24, 99, -1])
    if generator.random() < 0.5:
        _tensor(model, generator).data_type = kind
    else:
        generator.choice([*model.graph.input, *model.graph.output]).type.tensor_type.elem_type = kind


def _external(model: onnx.ModelProto, generator: random.Random) -> None:
    tensor = _tensor(model, generator)
    for field in ("raw_data", "float_data", "int64_data", "int32_data"):
        tensor.ClearField(field)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("external_data")
    place = generator.choice(["w.bin", "w.bin", "missing.bin", "link.bin", "", ".", *TEXTS])
    tensor.external_data.add(key="location", value=place)
    for key in ("offset", "length", "checksum"):
        if generator.random() < 0.5:
            tensor.external_data.add(key=key, value=str(generator.choice([*INTEGERS, 64, 4, "x", "", " 4", "٣"])))


def _parameter(model: onnx.ModelProto, generator: random.Random) -> None:
    """Give a quantizer a parameter that no quantizer can have, or one of another type or shape."""
    ours = [node for node in model.graph.node if node.domain and len(node.input) > 1]
    node = generator.choice(ours)
    name = node.input[generator.randrange(1, len(node.input))]
    for tensor in model.graph.initializer:
        if tensor.name == name:
            values = [generator.choice(FLOATS) for _ in range(generator.choice([0, 1, 1, 1, 2, 3, 4]))]
            dims = [] if len(values) == 1 and generator.random() < 0.5 else [len(values)]
            if generator.random() < 0.2:
                whole = [max(-(2**63), min(2**63 - 1, int(v))) if math.isfinite(v) else 0 for v in values]
                tensor.CopyFrom(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, dims, whole))
            else:
                tensor.CopyFrom(onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, dims, values))


def _op_type(model: onnx.ModelProto, generator: random.Random) -> None:
    node = _node(model, generator)
    node.op_type = generator.choice(OP_TYPES)
    if generator.random() < 0.5:
        node.domain = generator.choice(DOMAINS)


def _version(model: onnx.ModelProto, generator: random.Random) -> None:
    if generator.random() < 0.3:
        model.ir_version = generator.choice([0, 1, 3, 4, 13, 99, *INTEGERS])
    elif generator.random() < 0.3:
        model.opset_import.add(domain=generator.choice(DOMAINS), version=generator.choice([1, 2, 11, 21, 23, 99, -1]))
    else:
        entry = generator.choice(model.opset_import)
        entry.version = generator.choice([0, 1, 2, 6, 7, 9, 10, 11, 12, 13, 17, 22, 23, 24, 25, 26, 99, *INTEGERS])


def _attribute(model: onnx.ModelProto, generator: random.Random) -> None:
    node = _node(model, generator)
    attribute = generator.choice(node.attribute)
    if generator.random() < 0.3:
        attribute.name = generator.choice(TEXTS)
    kind = generator.choice([attribute.type, *range(1, 15)])
    attribute.type = kind
    attribute.i, attribute.f = generator.choice(INTEGERS), generator.choice(FLOATS)
    attribute.s = generator.choice([b"\xff\xfe", b"", *(text.encode() for text in TEXTS)])
    if generator.random() < 0.5:
        attribute.ints[:] = [generator.choice(INTEGERS) for _ in range(generator.randrange(5))]


def _grow(model: onnx.ModelProto, generator: random.Random) -> None:
    """Put a node in front of an input of another that makes a very large tensor of a few numbers."""

    def constant(name: str, values: list[int] | int) -> None:
        dims = [len(values)] if isinstance(values, list) else []
        numbers = values if isinstance(values, list) else [values]
        model.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, dims, numbers))

    reader = _node(model, generator)
    place = generator.randrange(len(reader.input))
    size = generator.choice([2**20, 2**28, 2**33, 2**40, 2**62])
    source = reader.input[place]
    kind = generator.choice(["ConstantOfShape", "Expand", "Tile", "Pad", "Range", "Resize", "OneHot", "EyeLike"])
    constant("grow_size", [size])
    constant("grow_pads", [0, size])
    constant("grow_one", [1])
    for name, value in (("grow_start", 0), ("grow_limit", size), ("grow_delta", 1)):
        constant(name, value)
    inputs = {
        "ConstantOfShape": ["grow_size"], "Expand": ["grow_one", "grow_size"], "Tile": ["grow_one", "grow_size"],
        "Pad": ["grow_one", "grow_pads"], "Range": ["grow_start", "grow_limit", "grow_delta"],
        "Resize": [source, "", "", "grow_size"], "OneHot": ["grow_one", "grow_limit", "grow_pads"],
        "EyeLike": [source],
    }[kind]  # fmt: skip
    if generator.random() < 0.3:
        inputs[0] = source
    model.graph.node.insert(0, onnx.helper.make_node(kind, inputs, ["grown"], name="grow"))
    if generator.random() < 0.5:
        model.graph.node.insert(1, onnx.helper.make_node("ReduceMax", ["grown"], ["small"], keepdims=0))
        reader.input[place] = "small"
    else:
        reader.input[place] = "grown"


def _nest(model: onnx.ModelProto, generator: random.Random) -> None:
    """Put graphs into each other, a few or as deep as protobuf reads them."""
    depth = generator.choice([2, 10, 25, 30])
    name = generator.choice(_node(model, generator).output)
    inner = onnx.helper.make_graph([onnx.helper.make_node("Identity", [name], ["deep"])], "deep", [], [])
    inner.output.add(name="deep")
    for level in range(depth):
        node = onnx.helper.make_node("If", ["deep_condition"], [f"deep_{level}"])
        for branch in ("then_branch", "else_branch")[: 1 if level else 2]:
            node.attribute.append(onnx.helper.make_attribute(branch, inner))
        inner = onnx.helper.make_graph([node], f"deep_{level}", [], [])
        inner.output.add(name=f"deep_{level}")
    model.graph.initializer.append(onnx.helper.make_tensor("deep_condition", onnx.TensorProto.BOOL, [], [True]))
    model.graph.node.append(inner.node[0])


def _recursive_function(model: onnx.ModelProto, generator: random.Random) -> None:
    """Add a function that calls itself, or functions that call each other many times over."""
    count = generator.choice([1, 2, 30])
    imports = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("f", 1)]
    for number in range(count):
        following = (number + 1) % count if generator.random() < 0.7 else number + 1
        if count == 30:
            following = number + 1
        op = "Identity" if following >= count else f"F{following}"
        domain = "" if following >= count else "f"
        nodes = [
            onnx.helper.make_node(op, ["a"], ["b"], domain=domain),
            onnx.helper.make_node(op, ["b"], ["c"], domain=domain),
        ]
        model.functions.append(onnx.helper.make_function("f", f"F{number}", ["a"], ["c"], nodes, imports))
    model.opset_import.add(domain="f", version=1)
    node = _node(model, generator)
    place = generator.randrange(len(node.input))
    model.graph.node.append(onnx.helper.make_node("F0", [node.input[place]], ["from_function"], domain="f"))
    node.input[place] = "from_function"


def _partition(model: onnx.ModelProto, generator: random.Random) -> None:
    """Put a GenericPartition somewhere, with a path that is right, wrong, or its own."""
    node = _node(model, generator)
    place = generator.randrange(len(node.input))
    path = generator.choice(["child.onnx", "child.onnx", "m.onnx", "link.onnx", "./child.onnx", *TEXTS])
    made = onnx.helper.make_node(
        "GenericPartition", [node.input[place]], ["from_partition"], domain="qonnx.custom_op.general", model=path
    )
    model.graph.node.append(made)
    node.input[place] = "from_partition"
    if not any(entry.domain == made.domain for entry in model.opset_import):
        model.opset_import.add(domain=made.domain, version=1)


def _sparse(model: onnx.ModelProto, generator: random.Random) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(onnx.helper.make_tensor(_tensor(model, generator).name, onnx.TensorProto.FLOAT, [1], [1.0]))
    sparse.indices.CopyFrom(onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [1], [generator.choice(INTEGERS)]))
    sparse.dims[:] = [generator.choice(INTEGERS) for _ in range(2)]


def _kind_of_input(model: onnx.ModelProto, generator: random.Random) -> None:
    """Make an input or output a sequence, an optional or a map of tensors."""
    info = generator.choice([*model.graph.input, *model.graph.output])
    tensor = onnx.TypeProto()
    tensor.CopyFrom(info.type)
    match generator.randrange(4):
        case 0:
            info.type.sequence_type.elem_type.CopyFrom(tensor)
        case 1:
            info.type.optional_type.elem_type.CopyFrom(tensor)
        case 2:
            info.type.map_type.key_type = 7
            info.type.map_type.value_type.CopyFrom(tensor)
        case _:
            info.type.sparse_tensor_type.elem_type = 1


def _annotation(model: onnx.ModelProto, generator: random.Random) -> None:
    annotation = model.graph.quantization_annotation.add(tensor_name=generator.choice(_node(model, generator).output))
    for _ in range(generator.randrange(1, 3)):
        key = generator.choice(["finn_datatype", "tensor_layout", "tensor_sparsity", "SCALE_TENSOR", ""])
        annotation.quant_parameter_tensor_names.add(key=key, value=generator.choice(TEXTS))


def _names(model: onnx.ModelProto, generator: random.Random) -> None:
    """Give a tensor another name everywhere, so that the graph stays whole."""
    old, new = generator.choice(_node(model, generator).output), generator.choice(TEXTS)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
        if generator.random() < 0.3:
            node.name = generator.choice(TEXTS)


def _inputs(model: onnx.ModelProto, generator: random.Random) -> None:
    node = _node(model, generator)
    match generator.randrange(4):
        case 0:
            node.input.append("")
        case 1:
            node.input[generator.randrange(len(node.input))] = ""
        case 2:
            del node.input[generator.randrange(len(node.input)) :]
        case _:
            node.output.append(generator.choice(["", "extra"]))


MUTATIONS: tuple[Mutation, ...] = (
    *(_cycle, _duplicate_name, _dims, _info_dims, _element_type, _external, _parameter, _parameter, _parameter),
    *(_op_type, _version, _attribute, _attribute, _grow, _grow, _nest, _recursive_function, _partition, _sparse),
    *(_kind_of_input, _annotation, _names, _inputs),
)
