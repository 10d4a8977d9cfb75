"""Modes and providers of a session: exact is the default, fast is onnxruntime's own, nothing falls back silently."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime
import pytest

import qonnx_core
from qonnx_core.errors import InvalidInput, ToolMissing
from qonnx_core.execute import providers
from qonnx_core.execute.optimizers import Obstacles, left_out
from qonnx_core.execute.providers import provider_names
from qonnx_core.execute.session import SessionSettings
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'


def relu() -> ir.Model:
    return from_proto(onnx.parser.parse_model(HEAD + "g (float[N] x) => (float[N] y) { y = Relu(x) }"))


def test_exact_settings_are_the_default() -> None:
    assert qonnx_core.compile_model(relu()).settings == SessionSettings("exact", 1, ("CPUExecutionProvider",))
    exact, fast = SessionSettings.of(), SessionSettings.of("fast", 0)
    assert "ConvBNFusion" in left_out("exact", Obstacles())
    assert "ConvBNFusion" not in left_out("fast", Obstacles())
    assert exact.options().get_session_config_entry("session.disable_prepacking") == "1"
    with pytest.raises(Exception, match="disable_prepacking"):
        fast.options().get_session_config_entry("session.disable_prepacking")
    assert (exact.options().intra_op_num_threads, fast.options().intra_op_num_threads) == (1, 0)


def test_fast_and_exact_agree_where_sums_are_exact() -> None:
    model = random_mlp(3, MlpShape(batch_norm=False, power_of_two=True, tail=False))
    x = np.random.default_rng(0).integers(-4, 4, (20, int(model.graph.inputs[0].shape[1]))).astype(np.float32)
    exact, fast = (qonnx_core.compile_model(model, mode=mode).run({"global_in": x}) for mode in ("exact", "fast"))
    np.testing.assert_array_equal(exact["global_out"], fast["global_out"])


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_data_before_dequantized_weights_are_not_rounded(mode: str) -> None:
    proto = onnx.parser.parse_model(
        HEAD + "g (float[N, 64] x) => (y) <float s = {0.5}> { v = DequantizeLinear(w, s) y = MatMul(x, v) }"
    )
    generator = np.random.default_rng(0)
    weights = generator.integers(-128, 128, (64, 32)).astype(np.int8)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    x = generator.integers(-1000, 1000, (4, 64)).astype(np.float32)
    found = qonnx_core.compile_model(from_proto(proto), mode=mode).run({"x": x})["y"]
    np.testing.assert_array_equal(found, x @ (weights * np.float32(0.5)))


CHAIN = "q = QuantizeLinear(r, s, z) y = DequantizeLinear(q, s, z)"
QDQ = {
    "a rectifier before int4": f"<float s = {{0.5}}, int4 z = {{3}}> {{ r = Relu(x) {CHAIN} }}",
    "a rectifier before uint4": f"<float s = {{0.5}}, uint4 z = {{8}}> {{ r = Relu(x) {CHAIN} }}",
    "a clip before uint4": "<float s = {0.5}, uint4 z = {0}, float a = {-1}, float b = {6}> "
                           "{ n = Neg(x) r = Clip(n, a, b) q = com.microsoft.QuantizeLinear(r, s, z) "
                           "y = com.microsoft.DequantizeLinear(q, s, z) }",
    "two grids in a row": f"<float s = {{0.37}}, uint8 z = {{120}}, float t = {{0.5}}, uint8 u = {{128}}> "
                          f"{{ p = QuantizeLinear(x, t, u) r = DequantizeLinear(p, t, u) {CHAIN} }}",
}  # fmt: skip


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("case", QDQ)
def test_quantizers_of_a_file_compute_what_they_say_in_every_mode(case: str, mode: str) -> None:
    """onnxruntime 1.32 optimizes each of these into something else."""
    head = '<ir_version: 10, opset_import: ["": 21, "com.microsoft": 1]> g (float[N] x) => (float[N] y) '
    proto = onnx.parser.parse_model(head + QDQ[case])
    x = (np.arange(-400, 400) / 32).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})[0]
    found = qonnx_core.compile_model(from_proto(proto), mode=mode).run({"x": x})["y"]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (None, ("CPUExecutionProvider",)),
        ("cpu", ("CPUExecutionProvider",)),
        ("CPUExecutionProvider", ("CPUExecutionProvider",)),
        (["CPU", "cpu"], ("CPUExecutionProvider",)),
    ],
)
def test_providers_have_short_names(wanted: str | list[str] | None, names: tuple[str, ...]) -> None:
    assert provider_names(wanted) == names
    found = qonnx_core.compile_model(relu(), providers=wanted).run({"x": np.float32([-1, 1])})["y"]
    assert found.tolist() == [0, 1]


def test_a_provider_that_is_not_there_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ToolMissing, match=r"provider cuda: .* \(available: cpu\); .* Install onnxruntime-gpu"):
        qonnx_core.compile_model(relu(), providers=["cuda", "cpu"])
    with pytest.raises(ToolMissing, match=r"provider webgpu: .* Install a build of onnxruntime that has it"):
        qonnx_core.compile_model(relu(), providers="WebGpuExecutionProvider")


def test_a_provider_that_does_not_start_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, *_: object, **options: object) -> None:
            assert options["enable_fallback"] == 0
            names = [name for name, _ in options["providers"]]
            assert names == ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    everything = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: everything)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(ToolMissing, match="provider cuda: onnxruntime has it, but cannot start it"):
        qonnx_core.compile_model(relu(), providers="cuda")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "quick"}, "mode: found 'quick'; expected exact or fast"),
        ({"threads": -1}, "threads: found -1; expected 1 to 1024, or 0"),
        ({"providers": "gpu"}, "provider 'gpu': onnxruntime knows none of this name; expected one of azure, "),
        ({"providers": []}, "providers: found none"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        qonnx_core.compile_model(relu(), **options)


def test_exact_sums_on_a_gpu_have_all_their_bits() -> None:
    cuda = (providers.CUDA,)
    assert SessionSettings("exact", 1, cuda).provider_list()[0] == (providers.CUDA, {"use_tf32": "0"})
    assert SessionSettings("fast", 1, cuda).provider_list() == [(providers.CUDA, {}), (providers.CPU, {})]
