"""Reading files: dialects, old opsets, and what is refused with one clear sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core import compile_model, load
from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing.random_mlp import random_mlp

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
QUANT = "y = qonnx.custom_op.general.Quant<{attributes}>(x, s, z, b)"
GRAPH = "g (float[N, 4] x) => (float[N, 4] y) <float s = {{0.5}}, float z = {{0}}, float b = {{4}}> {{ {node} }}"


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


def quant_model(attributes: str = "signed = 1, narrow = 0", head: str = HEAD) -> onnx.ModelProto:
    return parse(head + GRAPH.format(node=QUANT.format(attributes=attributes)))


def write(proto: onnx.ModelProto, folder: Path) -> Path:
    file = folder / "model.onnx"
    file.write_bytes(proto.SerializeToString())
    return file


@pytest.mark.parametrize("domain", ["onnx.brevitas", "finn", "finn.custom_op.general", "qonnx.custom_op.general"])
@pytest.mark.parametrize("imported", [True, False])
def test_old_domain_names_become_the_general_one(domain: str, imported: bool, tmp_path: Path) -> None:
    proto = quant_model()
    proto.graph.node[0].domain = domain
    del proto.opset_import[:]
    proto.opset_import.add(domain="", version=18)
    if imported:
        proto.opset_import.add(domain=domain, version=1)
    model = qonnx_core.load(write(proto, tmp_path))
    assert model.graph[0].domain == "qonnx.custom_op.general"
    assert dict(model.opset_imports) == {"": 21, "qonnx.custom_op.general": 1}


def test_attributes_that_are_left_out_are_written_out(tmp_path: Path) -> None:
    proto = quant_model()
    del proto.graph.node[0].attribute[:]
    node = qonnx_core.load(write(proto, tmp_path)).graph[0]
    found = {name: attribute.value for name, attribute in node.attributes.items()}
    assert found == {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("half_even", "ROUND"), ("Round_To_Zero", "DOWN"), ("half_down", "HALF_DOWN"), ("ceil", "CEIL")],
)
def test_rounding_modes_are_read_in_any_spelling(text: str, canonical: str) -> None:
    model = from_proto(quant_model(f'rounding_mode = "{text}"'))
    assert model.graph[0].attributes["rounding_mode"].value == canonical


def test_an_unknown_rounding_mode_is_refused_at_load(tmp_path: Path) -> None:
    """Defect 20 of the reference: accepted until the model ran."""
    file = write(quant_model('rounding_mode = "SIDEWAYS"'), tmp_path)
    with pytest.raises(
        InvalidModel, match=r"y \(Quant\): rounding_mode is 'SIDEWAYS'; expected one of ROUND, .*HALF_EVEN"
    ):
        qonnx_core.load(file)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("signed = 2", r"y \(Quant\): attribute signed is 2; expected 0 or 1"),
        ('signed = "yes"', r"attribute signed is 'yes'; expected 0 or 1"),
        ("rounding_mode = 3", r"attribute rounding_mode is 3; expected a text"),
    ],
)
def test_an_attribute_without_a_possible_value_is_refused(attributes: str, message: str) -> None:
    with pytest.raises(InvalidModel, match=message):
        from_proto(quant_model(attributes))


TRUNC = (
    '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": {version}]>'
    "g (float[4] x) => (float[4] y) <float s = {{1}}, float z = {{0}}, float i = {{8}}, float o = {{4}}>"
    "{{ y = qonnx.custom_op.general.Trunc({inputs}) }}"
)


@pytest.mark.parametrize(("version", "inputs"), [(1, "x, s, z, i, s, o"), (2, "x, s, z, i, o")])
def test_a_trunc_of_the_other_version_is_refused(version: int, inputs: str) -> None:
    """Defect 12 of the reference: a version 2 node under version 1 gave wrong numbers."""
    message = rf"Trunc of qonnx.custom_op.general version {version} takes .* are those of version {3 - version}"
    with pytest.raises(InvalidModel, match=message):
        from_proto(parse(TRUNC.format(version=version, inputs=inputs)))


@pytest.mark.parametrize(("general", "brevitas", "inputs"), [
    (1, 2, ("x, s, z, i, o", "a, s, z, i, s, o")), (2, 1, ("x, s, z, i, s, o", "a, s, z, i, o")),
    (None, 2, ("x, s, z, i, o", "a, s, z, i, s, o")),
])  # fmt: skip
def test_a_mixture_of_trunc_versions_under_two_names_of_the_domain_is_refused(
    general: int | None, brevitas: int, inputs: tuple[str, str]
) -> None:
    imports = f'"": 18, "onnx.brevitas": {brevitas}' + (f', "qonnx.custom_op.general": {general}' if general else "")
    text = f"""<ir_version: 8, opset_import: [{imports}]> g (float[4] x) => (float[4] y)
      <float s = {{1}}, float z = {{0}}, float i = {{8}}, float o = {{4}}>
      {{ a = qonnx.custom_op.general.Trunc({inputs[0]}) y = onnx.brevitas.Trunc({inputs[1]}) }}"""
    with pytest.raises(InvalidModel, match=r"Trunc.* takes .* are those of version"):
        from_proto(parse(text))


def test_several_names_of_the_domain_in_one_model_become_one() -> None:
    model = from_proto(
        parse("""<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1, "onnx.brevitas": 1,
      "finn.custom_op.general": 1, "finn": 1]> g (float[N, 4] x) => (float[N, 4] y)
      <float s = {1}, float z = {0}, float b = {4}, float[1, 3] t = {0, 1, 2}>
      { a = qonnx.custom_op.general.IntQuant(x, s, z, b) c = onnx.brevitas.Quant(a, s, z, b)
        d = finn.custom_op.general.BipolarQuant(c, s) y = finn.MultiThreshold<out_dtype = "UINT2">(d, t) }""")
    )
    assert {node.domain for node in model.graph} == {"qonnx.custom_op.general"}
    assert dict(model.opset_imports) == {"": 21, "qonnx.custom_op.general": 1}
    (found,) = qonnx_core.compile_model(model).run({"x": np.float32([[-3, 0, 0.4, 9]])}).values()
    assert found.tolist() == [[0, 2, 2, 2]]


def test_the_version_of_trunc_follows_the_import() -> None:
    from qonnx_core.ops import Trunc, TruncV1, op_of

    for version, inputs, kind in ((1, "x, s, z, i, o", TruncV1), (2, "x, s, z, i, s, o", Trunc)):
        model = from_proto(parse(TRUNC.format(version=version, inputs=inputs)))
        assert type(op_of(model.graph[0], model.opset_imports)) is kind


def test_inputs_with_an_initializer_are_parameters() -> None:
    proto = quant_model()
    for tensor in proto.graph.initializer:
        proto.graph.input.add(name=tensor.name).type.tensor_type.elem_type = 1
    model = from_proto(proto)
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_an_unknown_operator_of_our_domain_is_refused() -> None:
    proto = quant_model()
    proto.graph.node[0].op_type = "Quantt"
    with pytest.raises(InvalidModel, match=r"Quantt is not defined for version 1; expected one of .*Quant"):
        from_proto(proto)


def test_a_missing_multithreshold_out_dtype_is_named() -> None:
    text = (
        HEAD
        + "g (float[N,2] x) => (float[N,2] y) <float[1,2] t = {0,1}>"
        + "{ y = qonnx.custom_op.general.MultiThreshold(x, t) }"
    )
    with pytest.raises(InvalidModel, match=r"attribute out_dtype is missing"):
        from_proto(parse(text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nothing.onnx: there is no such file; expected an ONNX file"):
        qonnx_core.load(tmp_path / "nothing.onnx")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"is a folder; expected an ONNX file"):
        qonnx_core.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x00" * 100, b"PK\x03\x04zip"])
def test_something_else_is_no_model(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"is no ONNX file|holds no ONNX model"):
        qonnx_core.load(file)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(quant_model().SerializeToString()[:-20])
    with pytest.raises(InvalidModel, match=r"is no ONNX file|holds no ONNX model"):
        qonnx_core.load(file)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "inner/../../secret.bin", ""])
def test_external_data_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\x00" * 64)
    (tmp_path / "model").mkdir()
    proto = quant_model()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(InvalidModel, match=r"tensor s: its data are said to be in .* inside the model's folder"):
        qonnx_core.load(write(proto, tmp_path / "model"))


def test_missing_external_data_are_named(tmp_path: Path) -> None:
    proto = quant_model()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    with pytest.raises(InvalidModel, match=r"tensor s: its data file 'weights.bin' is missing"):
        qonnx_core.load(write(proto, tmp_path))


def test_a_dangling_input_is_named() -> None:
    proto = quant_model()
    proto.graph.node[0].input[1] = "nowhere"
    with pytest.raises(InvalidModel, match=r"input 1 reads 'nowhere', which nothing produces"):
        from_proto(proto)


def test_a_function_that_gives_what_nothing_makes_is_refused() -> None:
    proto = parse(f"""{HEAD[:-2]}, "f": 1]> g (float[1] x) => (y) {{ y = f.F(x) }}
        <domain: "f", opset_import: ["": 21]> F (a) => (b) {{ b = Neg(a) }}""")
    proto.functions[0].output[0] = "nothing"
    with pytest.raises(InvalidModel, match=r"model: .*expected a valid ONNX model"):
        from_proto(proto)


def test_nodes_out_of_order_are_sorted() -> None:
    proto = parse(HEAD + "g (float[2] x) => (float[2] y) { a = Relu(x) y = Neg(a) }")
    first, second = proto.graph.node
    swapped = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (second, first)]
    del proto.graph.node[:]
    proto.graph.node.extend(swapped)
    assert [node.op_type for node in from_proto(proto).graph] == ["Relu", "Neg"]


def test_an_operator_domain_is_never_imported_as_a_module() -> None:
    """Defect 7 of the reference: the domain of a node was imported as a Python module."""
    proto = quant_model()
    proto.graph.node[0].domain = "antigravity"
    proto.opset_import.add(domain="antigravity", version=1)
    from_proto(proto)
    assert "antigravity" not in sys.modules


def test_a_layout_annotation_is_never_evaluated(tmp_path: Path) -> None:
    """Defect 7 of the reference: annotations were read with eval()."""
    victim = tmp_path / "victim"
    proto = quant_model()
    annotation = proto.graph.quantization_annotation.add(tensor_name="y")
    annotation.quant_parameter_tensor_names.add(key="tensor_layout", value=f"[open({str(victim)!r}, 'w')]")
    with pytest.raises(InvalidModel, match=r"tensor y: annotation tensor_layout"):
        from_proto(proto)
    assert not victim.exists()


def test_a_model_of_opset_6_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"imports opset 6; expected 7 or newer"):
        from_proto(parse('<ir_version: 4, opset_import: ["": 6]> g (float[2] x) => (float[2] y) { y = Relu(x) }'))


def test_a_model_of_the_future_is_refused() -> None:
    proto = parse('<ir_version: 8, opset_import: ["": 18]> g (float[2] x) => (float[2] y) { y = Relu(x) }')
    proto.opset_import[0].version = 1000
    with pytest.raises(InvalidModel, match=r"imports opset 1000; expected at most"):
        from_proto(proto)


def test_the_first_import_need_not_be_the_standard_one() -> None:
    """Defect 5 of the reference: folding used opset_import[0] for the standard operators."""
    head = '<ir_version: 8, opset_import: ["qonnx.custom_op.general": 1, "": 13]>'
    text = (
        head
        + "g (float[N, 4] x) => (float[N, 4] y)"
        + "{ a = Constant<value = int64[1] {0}>() b = Unsqueeze(x, a) y = Squeeze(b, a) }"
    )
    model = qonnx_core.cleanup_model(from_proto(parse(text)))
    x = np.ones((2, 4), np.float32)
    assert qonnx_core.compile_model(model).run({"global_in": x})["global_out"].tolist() == x.tolist()


FUNCTION = (
    HEAD.replace("1]>", '1, "mine": 1]>')
    + """g (float[N, 4] x) => (float[N, 4] y) { y = mine.half(x) }
    <domain: "mine", opset_import: ["": 18, "qonnx.custom_op.general": 1]> half (a) => (c)
    { s = Constant<value = float {0.5}>() z = Constant<value = float {0}>() b = Constant<value = float {4}>()
      c = qonnx.custom_op.general.Quant(a, s, z, b) }"""
)


def test_a_function_of_the_file_is_inlined() -> None:
    model = qonnx_core.cleanup_model(from_proto(parse(FUNCTION)))
    (node,) = model.graph
    assert (node.op_type, node.attributes["rounding_mode"].value) == ("Quant", "ROUND")
    x = np.asarray([[0.1, 0.3, 9, -9]], np.float32)
    for form in (model, from_proto(parse(FUNCTION))):
        (found,) = qonnx_core.compile_model(form).run({form.graph.inputs[0].name: x}).values()
        assert found.tolist() == [[0, 0.5, 3.5, -4]]


def test_a_model_built_out_of_order_is_sorted_in_the_copy() -> None:
    model = from_proto(parse(HEAD + "g (float[2] x) => (float[2] y) { a = Relu(x) y = Neg(a) }"))
    first = model.graph[0]
    model.graph.remove(first)
    model.graph.append(first)
    assert qonnx_core.compile_model(model).run({"x": np.ones(2, np.float32)})["y"].tolist() == [-1, -1]
    assert [node.op_type for node in qonnx_core.cleanup_model(model).graph] == ["Relu", "Neg"]


def test_nodes_of_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    model = random_mlp(3)
    for node in model.graph:
        node.name = "same"
    path = tmp_path / "same.onnx"
    path.write_bytes(ir.serde.serialize_model(model).SerializeToString())
    loaded = load(path)
    names = [node.name for node in loaded.graph]
    assert len(set(names)) == len(names)
    width = int(loaded.graph.inputs[0].shape[1])
    assert compile_model(loaded).run({"global_in": np.zeros((1, width), np.float32)})["global_out"].shape[0] == 1


def test_a_name_that_is_made_twice_is_told(tmp_path: Path) -> None:
    proto = ir.serde.serialize_model(random_mlp(3))
    proto.graph.node[1].output[0] = proto.graph.node[0].output[0]
    path = tmp_path / "twice.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidModel, match="Quant_0_out0") as caught:
        load(path)
    assert "_deserialize" not in str(caught.value)


@pytest.mark.parametrize(("target", "left"), [("{2, -1}", []), ("{0, 4}", ["allowzero"])])
def test_a_reshape_says_that_a_zero_is_a_size_only_where_there_is_one(target: str, left: list[str]) -> None:
    model = from_proto(
        onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["": 21]>
            g (float[2, N] x) => (y) <int64[2] t = {target}> {{ y = Reshape<allowzero = 1>(x, t) }}""")
    )
    assert list(model.graph[0].attributes) == left


def test_a_size_of_minus_one_is_a_free_size(tmp_path: Path) -> None:
    """Old exporters write it; onnxruntime reads it so too."""
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 3] x) => (float[N, 3] y) {a = Relu(x) y = Neg(a)}'
    proto = onnx.parser.parse_model(text)
    for info in (*proto.graph.input, *proto.graph.output):
        info.type.tensor_type.shape.dim[0].dim_value = -1
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    model = qonnx_core.load(tmp_path / "model.onnx")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for again in (model, qonnx_core.cleanup_model(model)):
        compiled = qonnx_core.compile_model(again)
        np.testing.assert_array_equal(next(iter(compiled.run({compiled.input_names[0]: x}).values())), -x)
    deserialized = ir.serde.deserialize_model(proto)
    np.testing.assert_array_equal(qonnx_core.compile_model(deserialized).run({"x": x})["y"], -x)
