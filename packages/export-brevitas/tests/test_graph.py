"""What the written graph looks like: clean, named, any batch size, the same bytes each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from brevitas.nn import QuantEltwiseAdd, QuantIdentity, QuantLinear, QuantReLU
from brevitas.quant import Int32Bias
from brevitas.quant_tensor import QuantTensor
from torch import nn

import qonnx_core
from export_brevitas import export_qonnx
from qonnx_core.errors import InvalidInput

X = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1))


class Residual(nn.Module):
    """Most of what this version supports in one model: quantized tensors between layers, a residual addition."""

    def __init__(self, *, doubled: bool = True) -> None:
        super().__init__()
        self.doubled = doubled
        self.inp = QuantIdentity(return_quant_tensor=True)
        self.fc1 = QuantLinear(8, 8, bias_quant=Int32Bias, weight_bit_width=4, return_quant_tensor=True)
        self.add = QuantEltwiseAdd(return_quant_tensor=True)
        self.bn = nn.BatchNorm1d(8)
        self.relu = QuantReLU(bit_width=4, return_quant_tensor=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.inp(torch.flatten(x, 1))
        second = self.fc1(first)
        assert isinstance(second, QuantTensor)
        x = self.relu(self.bn(self.add(first, second)))
        return self.head(self.drop(x + x if self.doubled else x))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q = QuantIdentity(return_quant_tensor=True)
        self.fc = QuantLinear(8, 4, bias_quant=Int32Bias)

    def forward(self, left: torch.Tensor, right: torch.Tensor, *, twice: bool = False) -> dict[str, Any]:
        total = self.q(left) + self.q(right)
        return {"logits": self.fc(total), "total": total + total if twice else total}


def test_names_are_those_of_the_layers(exported: Any) -> None:
    result = exported(Residual(), X)
    assert result.node_names == [
        "Flatten",
        "inp.act_quant",
        "fc1.weight_quant",
        "fc1.bias_quant",
        "fc1",
        "add.input_quant",
        "add.input_quant_1",
        "add",
        "add.output_quant",
        "bn",
        "relu",
        "relu.act_quant",
        "Add",
        "head.0",
        "head.1",
        "head.2",
    ]
    assert [value.name for value in result.node("fc1").inputs] == [
        "inp.act_quant_out0",
        "fc1.weight_quant_out0",
        "fc1.bias_quant_out0",
    ]
    assert {"fc1.weight", "fc1.bias", "fc1.weight_quant.scale", "bn.running_mean", "head.2.bias"} <= set(
        result.onnx.graph.initializers
    )


def test_there_is_one_input_with_any_batch_size(exported: Any) -> None:
    result = exported(Residual(), X)
    graph = result.onnx.graph
    assert [(value.name, str(value.shape)) for value in graph.inputs] == [("x", "[batch,2,4]")]
    assert [(value.name, str(value.shape)) for value in graph.outputs] == [("output", "[batch,3]")]
    compiled = qonnx_core.compile_model(result.onnx)
    for batch in (1, 2, 7):
        x = torch.randn(batch, 2, 4)
        with torch.no_grad():
            expected = result.model(x).numpy()
        np.testing.assert_allclose(compiled.run({"x": x.numpy()})["output"], expected, rtol=1e-5, atol=1e-6)


def test_every_value_has_a_type_and_a_shape(exported: Any) -> None:
    for node in exported(Residual(), X).onnx.graph:
        assert all(value.type is not None and value.shape is not None for value in node.outputs), node.name


def test_the_batch_can_be_fixed(exported: Any) -> None:
    result = exported(Residual(), X, dynamic_batch=False)
    assert str(result.onnx.graph.inputs[0].shape) == "[3,2,4]"


def test_an_example_of_batch_one_does_not_fix_the_batch(exported: Any) -> None:
    result = exported(Residual().eval(), X[:1], calibrate=False)
    assert str(result.onnx.graph.inputs[0].shape) == "[batch,2,4]"


def test_the_file_holds_the_model_and_nothing_else(exported: Any, tmp_path: Path) -> None:
    exported(Residual(), X, path=tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    proto = onnx.load(tmp_path / "model.onnx")
    assert not {value.name for value in proto.graph.input} & {value.name for value in proto.graph.initializer}
    assert {(each.domain, each.version) for each in proto.opset_import} == {("", 18), ("qonnx.custom_op.general", 2)}
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    assert not proto.functions
    raw = (tmp_path / "model.onnx").read_bytes()
    assert not any(text in raw for text in (b"/site-packages", b"lifted_tensor", b"stack_trace"))
    properties = {each.key: each.value for each in proto.metadata_props}
    assert properties["torch_version"] == torch.__version__
    assert properties["brevitas_version"].startswith("0.13")
    assert properties["model_class"] == "Residual"


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = Residual()
    model(X)
    for name in ("first", "second"):
        export_qonnx(model, X, tmp_path / f"{name}.onnx", verify=False)
    export_qonnx(model, X[:2], tmp_path / "third.onnx", verify=False)
    first, second, third = ((tmp_path / f"{name}.onnx").read_bytes() for name in ("first", "second", "third"))
    assert first == second
    assert first == third  # the example's batch size leaves no trace


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import sys, torch; from torch import nn; from brevitas.nn import QuantLinear, QuantReLU\n"
        "from export_brevitas import export_qonnx\n"
        "torch.manual_seed(0)\n"
        "model = nn.Sequential(QuantLinear(6, 4, weight_bit_width=3), QuantReLU(bit_width=2)).eval()\n"
        "export_qonnx(model, torch.zeros(1, 6), sys.argv[1], verify=False)\n"
    )
    paths = [tmp_path / "first.onnx", tmp_path / "second.onnx"]
    for path in paths:
        subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(path)], check=True, timeout=300)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_it_is_loaded_and_run_by_qonnx_core(exported: Any, tmp_path: Path) -> None:
    result = exported(Residual(), X, path=tmp_path / "model.onnx")
    loaded = qonnx_core.load(tmp_path / "model.onnx")
    for model in (loaded, qonnx_core.cleanup_model(loaded)):
        name = str(model.graph.inputs[0].name)
        (found,) = qonnx_core.compile_model(model).run({name: X.numpy()}).values()
        with torch.no_grad():
            np.testing.assert_allclose(found, result.model(X).numpy(), rtol=1e-5, atol=1e-6)


def test_it_is_loaded_and_run_by_the_qonnx_package(exported: Any, tmp_path: Path) -> None:
    wrapper = pytest.importorskip("qonnx.core.modelwrapper", reason="the package qonnx is not installed")
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.util.cleanup import cleanup_model

    # Its clean-up breaks x + x: it renames one of the two uses only.
    result = exported(Residual(doubled=False), X, path=tmp_path / "model.onnx", dynamic_batch=False)
    model = wrapper.ModelWrapper(str(tmp_path / "model.onnx"))
    for each in (model, cleanup_model(model)):
        name, output = each.graph.input[0].name, each.graph.output[0].name
        found = execute_onnx(each, {name: X.numpy()})[output]
        with torch.no_grad():
            np.testing.assert_allclose(found, result.model(X).numpy(), rtol=1e-5, atol=1e-6)


def test_it_holds_copies_of_the_weights(exported: Any) -> None:
    result = exported(Residual(), X)
    before = result.constant("fc1.weight").copy()
    with torch.no_grad():
        result.model.fc1.weight.add_(1.0)
    assert np.array_equal(result.constant("fc1.weight"), before)


def test_several_inputs_and_outputs_keep_their_names(exported: Any) -> None:
    pair = (torch.randn(3, 8), torch.randn(3, 8))
    graph = exported(TwoInputs(), pair).onnx.graph
    assert [value.name for value in graph.inputs] == ["left", "right"]
    assert [value.name for value in graph.outputs] == ["logits", "total"]


def test_keyword_arguments_that_are_no_tensors_become_part_of_the_graph(exported: Any) -> None:
    pair = (torch.randn(3, 8), torch.randn(3, 8))
    plain, twice = (exported(TwoInputs(), pair, kwargs={"twice": twice}) for twice in (False, True))
    assert len(twice.node_names) == len(plain.node_names) + 1


def test_names_of_inputs_and_outputs_can_be_given(exported: Any) -> None:
    graph = exported(Residual(), X, input_names=["global_in"], output_names=["global_out"]).onnx.graph
    assert (graph.inputs[0].name, graph.outputs[0].name) == ("global_in", "global_out")


@pytest.mark.parametrize("option", ["input_names", "output_names"])
def test_a_wrong_number_of_names_is_refused(exported: Any, option: str) -> None:
    with pytest.raises(InvalidInput, match=rf"{option}: found \['a', 'b'\]; expected 1 different names"):
        exported(Residual(), X, **{option: ["a", "b"]})


def test_a_quantized_tensor_can_be_the_example(exported: Any) -> None:
    quantize = QuantIdentity(return_quant_tensor=True).eval()
    model = QuantLinear(8, 4, bias_quant=Int32Bias).eval()
    result = exported(model, quantize(torch.randn(3, 8)), calibrate=False)
    assert [value.name for value in result.onnx.graph.inputs] == ["input"]
    assert result.node_names == ["weight_quant", "bias_quant", "Gemm"]


def test_more_than_two_dimensions_are_multiplied_by_matmul(exported: Any) -> None:
    result = exported(nn.Sequential(QuantLinear(8, 4)), torch.randn(3, 5, 8))
    assert result.op_types == ["Quant", "Transpose", "MatMul", "Add"]
    assert result.node_names == ["0.weight_quant", "0.Transpose", "0", "0.Add"]


@pytest.mark.parametrize(("wanted", "ir_version"), [(14, 8), (18, 8), (20, 9), (21, 10)])
def test_the_opset_can_be_chosen(exported: Any, wanted: int, ir_version: int) -> None:
    result = exported(nn.Sequential(QuantLinear(8, 4), nn.ReLU()), torch.randn(3, 8), opset_version=wanted)
    assert result.onnx.graph.opset_imports[""] == wanted
    assert result.onnx.ir_version == ir_version


def test_an_opset_that_is_too_old_is_refused(exported: Any) -> None:
    with pytest.raises(InvalidInput, match=r"opset_version is 13; .*Relu \(14\)\. Take at least the largest"):
        exported(nn.Sequential(QuantLinear(8, 4), nn.ReLU()), torch.randn(3, 8), opset_version=13)
    with pytest.raises(InvalidInput, match="opset_version is 99; expected 1 to"):
        exported(nn.Sequential(QuantLinear(8, 4)), torch.randn(3, 8), opset_version=99)


def test_convolutions_come_with_it(exported: Any) -> None:
    from brevitas.nn import QuantConv2d, TruncAvgPool2d
    from brevitas.quant import TruncTo8bit

    class Convolutions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inp = QuantIdentity(return_quant_tensor=True)
            self.conv = QuantConv2d(3, 4, 3, padding=1, weight_bit_width=4, bias_quant=Int32Bias)
            self.bn = nn.BatchNorm2d(4)
            self.relu = QuantReLU(return_quant_tensor=True)
            self.pool = TruncAvgPool2d(4, trunc_quant=TruncTo8bit)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.pool(self.relu(self.bn(self.conv(self.inp(x)))))

    result = exported(Convolutions(), torch.randn(2, 3, 4, 4))
    assert result.node_names[-2:] == ["pool", "pool.trunc_quant"]
    assert result.node("conv").op_type == "Conv"
