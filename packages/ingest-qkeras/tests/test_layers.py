"""Whole models: what from_keras gives equals model.predict."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import ingest_qkeras
from qonnx_core import InvalidInput, Mismatch, Unsupported, compile_model

GRID = (np.random.default_rng(0).integers(-64, 65, (200, 8)) / 16).astype(np.float32)


def run(model: ir.Model, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    names = [value.name for value in model.graph.inputs]
    return compile_model(model).run(dict(zip(names, inputs, strict=True)))


def op_types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def dense(qk: Any, units: int, name: str, **arguments: Any) -> Any:
    return qk.QDense(
        units,
        kernel_quantizer=arguments.pop("kernel", "quantized_bits(4,0,alpha=1)"),
        bias_quantizer=arguments.pop("bias", "quantized_bits(8,0,alpha=1)"),
        name=name,
        **arguments,
    )


def assert_exact(keras_model: Any, *inputs: np.ndarray) -> ir.Model:
    converted = ingest_qkeras.from_keras(keras_model, verify_inputs=list(inputs))
    check = ingest_qkeras.compare_with_keras(converted, keras_model, list(inputs))
    assert (check.equal, check.samples) == (len(inputs[0]), len(inputs[0]))
    return converted


def test_a_perceptron_has_the_users_names_and_a_symbolic_batch(qk: Any, build: Any) -> None:
    model = build(dense(qk, 6, "fc1"), qk.QActivation("quantized_relu(4,1)", name="relu1"), dense(qk, 3, "fc2"))
    converted = assert_exact(model, GRID)
    graph = converted.graph
    assert graph.name == "net"
    assert [(value.name, str(value.shape)) for value in graph.inputs] == [("x", "[batch,8]")]
    assert [(value.name, str(value.shape)) for value in graph.outputs] == [("fc2", "[batch,3]")]
    assert [node.name for node in graph] == [
        "fc1/kernel_quant",
        "fc1",
        "fc1/bias_quant",
        "fc1/bias_add",
        "relu1/relu",
        "relu1",
        "fc2/kernel_quant",
        "fc2",
        "fc2/bias_quant",
        "fc2/bias_add",
    ]
    assert {"fc1/kernel", "fc1/kernel_scale", "fc1/bias", "relu1/scale", "fc2/kernel"} <= set(graph.initializers)
    np.testing.assert_array_equal(graph.initializers["fc1/kernel"].const_value.numpy(), model.layers[1].kernel.numpy())
    assert {node.domain for node in graph if node.op_type == "Quant"} == {"qonnx.custom_op.general"}


def test_the_metadata_says_where_the_model_comes_from(qk: Any, build: Any) -> None:
    converted = ingest_qkeras.from_keras(build(dense(qk, 2, "fc1")), name="my net")
    assert converted.producer_name == "ingest-qkeras"
    assert converted.metadata_props["source.qkeras"] == "0.9.0"
    assert set(converted.metadata_props) >= {"source.tensorflow", "source.tf-keras", "source.framework"}
    assert converted.graph.name == "my_net"


@pytest.mark.parametrize("kernel", ["quantized_bits(4,0)", "binary()", "ternary()", "stochastic_ternary()"])
def test_kernels_with_automatic_power_of_two_scales_are_exact(kernel: str, qk: Any, build: Any) -> None:
    model = build(
        dense(qk, 16, "fc1", kernel=kernel, bias=None),
        qk.QActivation("quantized_bits(6,3,alpha=1)", name="act"),
        dense(qk, 4, "fc2", kernel=kernel),
    )
    assert_exact(model, GRID)


@pytest.mark.parametrize(
    "kernel", ["quantized_bits(4,0,alpha='auto')", "binary(alpha='auto')", "ternary(alpha='auto')"]
)
def test_kernels_with_automatic_float_scales_have_no_mismatch(kernel: str, qk: Any, build: Any) -> None:
    model = build(
        dense(qk, 16, "fc1", kernel=kernel), qk.QActivation("quantized_relu(6,3)"), dense(qk, 4, "fc2", kernel=kernel)
    )
    converted = ingest_qkeras.from_keras(model, verify_inputs=GRID)
    assert ingest_qkeras.compare_with_keras(converted, model, GRID).passed


def test_activations_inside_dense_layers(tf: Any, qk: Any, build: Any) -> None:
    model = build(
        dense(qk, 6, "fc1", activation="quantized_relu(4,1)"),
        dense(qk, 6, "fc2", activation=qk.quantized_bits(6, 2, alpha=1)),
        tf.keras.layers.Dense(4, activation="relu", name="fc3"),
    )
    converted = ingest_qkeras.from_keras(model, verify_inputs=GRID)
    assert "fc1/activation" in [node.name for node in converted.graph]
    assert [value.name for value in converted.graph.outputs] == ["fc3"]


@pytest.mark.parametrize(
    "name",
    ["linear", "relu", "softmax", "sigmoid", "tanh", "hard_sigmoid", "softsign"],
)
def test_keras_activations(name: str, tf: Any, build: Any) -> None:
    model = build(tf.keras.layers.Activation(name, name="act"))
    x = GRID / 2
    found = run(ingest_qkeras.from_keras(model, verify_inputs=x), x)["act"]
    expected = model.predict(x, verbose=0)
    assert np.abs(found - expected).max() <= 4 * np.spacing(np.abs(expected).max())


def test_relu_layers(tf: Any, build: Any) -> None:
    layers = tf.keras.layers
    assert_exact(build(layers.ReLU(name="a")), GRID)
    assert_exact(build(layers.ReLU(max_value=1.5, name="a")), GRID)
    assert_exact(build(layers.ReLU(negative_slope=0.25, name="a")), GRID)
    assert_exact(build(layers.ReLU(max_value=2.0, negative_slope=0.25, name="a")), GRID)
    assert_exact(build(layers.LeakyReLU(alpha=0.125, name="a")), GRID)
    with pytest.raises(Unsupported, match=r"net/a \(ReLU\): threshold is 1; expected 0"):
        ingest_qkeras.from_keras(build(layers.ReLU(threshold=1.0, name="a")))


@pytest.mark.parametrize("arguments", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}])
def test_batch_normalization_has_tensorflows_own_arithmetic(arguments: Any, tf: Any, qk: Any, build: Any) -> None:
    norm = tf.keras.layers.BatchNormalization(name="bn", **arguments)
    model = build(dense(qk, 16, "fc1"), norm, qk.QActivation("quantized_relu(4,2)", name="relu1"), dense(qk, 3, "fc2"))
    rng = np.random.default_rng(1)
    norm.moving_mean.assign(rng.standard_normal(16))
    norm.moving_variance.assign(rng.uniform(0.01, 3, 16))
    if norm.gamma is not None:
        norm.gamma.assign(rng.standard_normal(16))
    assert_exact(model, np.concatenate([GRID, rng.standard_normal((2000, 8)).astype(np.float32)]))


def test_batch_normalization_over_another_axis(tf: Any, build: Any) -> None:
    norm = tf.keras.layers.BatchNormalization(axis=1, name="bn")
    model = build(norm, shape=(3, 8))
    norm.moving_mean.assign([1.0, 2.0, 3.0])
    norm.moving_variance.assign([0.5, 1.5, 2.5])
    x = np.random.default_rng(0).standard_normal((20, 3, 8)).astype(np.float32)
    assert_exact(model, x)


def test_quantized_batch_normalization(qk: Any, build: Any) -> None:
    norm = qk.QBatchNormalization(name="qbn")
    model = build(dense(qk, 16, "fc1"), norm, qk.QActivation("quantized_bits(6,2,alpha=1)", name="act"))
    rng = np.random.default_rng(1)
    norm.moving_mean.assign(rng.standard_normal(16))
    norm.moving_variance.assign(rng.uniform(0.01, 3, 16))
    norm.gamma.assign(rng.uniform(0.1, 2, 16))
    norm.beta.assign(rng.standard_normal(16))
    assert_exact(model, GRID)


def test_dropout_and_its_kin_leave_no_node(tf: Any, qk: Any, build: Any) -> None:
    layers = tf.keras.layers
    model = build(dense(qk, 4, "fc1"), layers.Dropout(0.5), layers.GaussianNoise(0.1), layers.Activation("linear"))
    converted = assert_exact(model, GRID)
    assert op_types(converted) == ["Quant", "MatMul", "Quant", "Add"]
    assert [value.name for value in converted.graph.outputs] == [model.output_names[0]]


def test_a_model_that_does_nothing_still_has_an_output_of_its_own(tf: Any, build: Any) -> None:
    converted = assert_exact(build(tf.keras.layers.Dropout(0.5, name="drop")), GRID)
    assert op_types(converted) == ["Identity"]


def test_flatten_and_reshape(tf: Any, qk: Any, build: Any) -> None:
    layers = tf.keras.layers
    model = build(
        layers.Reshape((2, 4), name="split"), dense(qk, 3, "fc1"), layers.Flatten(name="flat"), dense(qk, 2, "f")
    )
    converted = assert_exact(model, GRID)
    assert [str(node.outputs[0].shape) for node in converted.graph if node.op_type in {"Reshape", "Flatten"}] == [
        "[batch,2,4]",
        "[batch,6]",
    ]


def test_a_residual_sum_of_three(tf: Any, qk: Any) -> None:
    x = tf.keras.Input((8,), name="x")
    a = qk.QActivation("quantized_bits(6,2,alpha=1)", name="a")(x)
    b = dense(qk, 8, "b")(a)
    c = tf.keras.layers.Add(name="sum")([a, b, x])
    converted = assert_exact(tf.keras.Model(x, qk.QActivation("quantized_relu(5,2)", name="out")(c)), GRID)
    assert [node.name for node in converted.graph if node.op_type == "Add"] == ["b/bias_add", "sum/add1", "sum"]


def test_several_inputs_and_outputs(tf: Any, qk: Any) -> None:
    a, b = tf.keras.Input((8,), name="left"), tf.keras.Input((8,), name="right")
    total = tf.keras.layers.Add(name="sum")([dense(qk, 4, "fa")(a), dense(qk, 4, "fb")(b)])
    act = qk.QActivation("quantized_relu(4,2)", name="act")(total)
    model = tf.keras.Model([a, b], [dense(qk, 2, "first")(act), act, total], name="two")
    converted = assert_exact(model, GRID, GRID[::-1].copy())
    assert [value.name for value in converted.graph.inputs] == ["left", "right"]
    assert [value.name for value in converted.graph.outputs] == ["first", "act", "sum"]
    by_name = {"right": GRID, "left": GRID[::-1].copy()}
    assert ingest_qkeras.compare_with_keras(converted, model, by_name).equal == len(GRID)


def test_one_value_given_twice_is_two_outputs(tf: Any, qk: Any) -> None:
    x = tf.keras.Input((8,), name="x")
    y = dense(qk, 2, "fc")(x)
    converted = assert_exact(tf.keras.Model(x, [y, tf.keras.layers.Dropout(0.1, name="same")(y)]), GRID)
    assert [value.name for value in converted.graph.outputs] == ["fc", "same"]


def test_a_layer_called_twice_has_its_weights_once(tf: Any, qk: Any) -> None:
    x = tf.keras.Input((8,), name="x")
    layer = dense(qk, 8, "fc")
    converted = assert_exact(tf.keras.Model(x, layer(layer(x))), GRID)
    assert [node.name for node in converted.graph if node.op_type == "MatMul"] == ["fc", "fc_1"]
    assert [name for name in converted.graph.initializers if name.endswith("kernel")] == ["fc/kernel"]


def test_a_sequential_model_inside_another(tf: Any, qk: Any) -> None:
    inner = tf.keras.Sequential(
        [tf.keras.Input((8,)), dense(qk, 6, "fc1"), qk.QActivation("quantized_relu(4,1)", name="act")], name="block"
    )
    model = tf.keras.Sequential([tf.keras.Input((8,), name="x"), inner, dense(qk, 3, "fc2")], name="outer")
    converted = assert_exact(model, GRID)
    assert {"block/fc1", "block/act", "fc2"} <= {node.name for node in converted.graph}


def test_a_name_that_onnx_tools_dislike_is_sanitized(qk: Any, build: Any) -> None:
    converted = assert_exact(build(dense(qk, 3, "block>layer")), GRID)
    assert [value.name for value in converted.graph.outputs] == ["block_layer"]


def test_the_same_model_gives_the_same_bytes(qk: Any, build: Any) -> None:
    model = build(dense(qk, 6, "fc1", kernel="quantized_bits(4,0)"), qk.QActivation("quantized_relu(4)"))
    first, second = (ir.to_proto(ingest_qkeras.from_keras(model)).SerializeToString() for _ in range(2))
    assert first == second


def test_every_refused_layer_is_listed(tf: Any, qk: Any) -> None:
    inner = tf.keras.Sequential([tf.keras.Input((8,)), tf.keras.layers.PReLU(name="prelu")], name="block")
    x = tf.keras.Input((8,), name="x")
    y = tf.keras.layers.Lambda(lambda t: t * 2, name="twice")(inner(x))
    y = qk.QActivation("quantized_bits(4,0,alpha='auto')", name="act")(y)
    with pytest.raises(Unsupported) as caught:
        ingest_qkeras.from_keras(tf.keras.Model(x, y, name="net"))
    assert len(caught.value.reasons) == 3
    prelu, twice, act = caught.value.reasons
    assert prelu.startswith(
        "net/block/prelu (PReLU): this layer has no exact counterpart here; expected one of Activation"
    )
    assert twice.startswith("net/twice (Lambda): ")
    assert "arbitrary Python" in twice
    assert act.startswith("net/act (QActivation): quantized_bits: alpha is 'auto' on an activation")


def test_a_convolution_is_refused_for_now(tf: Any, qk: Any, build: Any) -> None:
    model = build(qk.QConv2D(2, 3, kernel_quantizer="binary()", name="c"), tf.keras.layers.Flatten(), shape=(5, 5, 1))
    with pytest.raises(Unsupported, match=r"^net/c \(QConv2D\): convolution and pooling are not converted yet"):
        ingest_qkeras.from_keras(model)


def test_a_subclass_of_a_layer_is_refused(tf: Any, build: Any) -> None:
    class Mine(tf.keras.layers.Dense):  # type: ignore[misc]
        pass

    with pytest.raises(Unsupported, match=r"net/mine \(Mine\): class Mine of .* has no exact counterpart"):
        ingest_qkeras.from_keras(build(Mine(2, name="mine")))


def test_an_operator_on_keras_tensors_is_refused(tf: Any) -> None:
    x = tf.keras.Input((8,), name="x")
    with pytest.raises(Unsupported, match=r"\(TFOpLambda\).*use a layer instead, such as Add"):
        ingest_qkeras.from_keras(tf.keras.Model(x, x + x))


def test_a_call_in_training_mode_is_refused(tf: Any) -> None:
    x = tf.keras.Input((8,), name="x")
    model = tf.keras.Model(x, tf.keras.layers.Dropout(0.5, name="d")(x, training=True), name="net")
    with pytest.raises(Unsupported, match=r"net/d \(Dropout\): called with training=True"):
        ingest_qkeras.from_keras(model)


def test_other_precisions_are_refused(tf: Any, build: Any) -> None:
    model = build(tf.keras.layers.Dense(2, dtype="float16", use_bias=False, name="half"))
    with pytest.raises(Unsupported, match=r"net/half \(Dense\): computes in float16; expected float32"):
        ingest_qkeras.from_keras(model)


def test_a_model_that_is_not_built_is_refused(tf: Any) -> None:
    model = tf.keras.Sequential([tf.keras.layers.Dense(2)], name="seq")
    with pytest.raises(InvalidInput, match=r"seq \(Sequential\): the model is not built; expected a functional model"):
        ingest_qkeras.from_keras(model)


def test_a_subclassed_model_is_refused(tf: Any) -> None:
    class Mine(tf.keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(InvalidInput, match=r"\(Mine\): the model has no layer graph"):
        ingest_qkeras.from_keras(Mine(name="mine"))


def test_wrong_verify_inputs_are_refused(qk: Any, build: Any) -> None:
    model = build(dense(qk, 2, "fc"))
    with pytest.raises(InvalidInput, match=r"verify_inputs: x has shape \(4, 7\); expected \('N', '8'\)"):
        ingest_qkeras.from_keras(model, verify_inputs=np.zeros((4, 7)))
    with pytest.raises(InvalidInput, match=r"the names are \['y'\]; expected \['x'\]"):
        ingest_qkeras.from_keras(model, verify_inputs={"y": GRID})
    with pytest.raises(InvalidInput, match="2 arrays; expected 1"):
        ingest_qkeras.from_keras(model, verify_inputs=[GRID, GRID])


def test_a_model_that_computes_something_else_is_a_mismatch(qk: Any, build: Any) -> None:
    model = build(qk.QActivation(qk.quantized_bits(8, 0, alpha=1), name="act"))
    with pytest.raises(Mismatch, match=r"net: 1 of 1 samples differ.*First: act, sample 0.*2\*\*24 of its steps"):
        ingest_qkeras.from_keras(model, verify_inputs=np.full((1, 8), 1e9, np.float32))
    ingest_qkeras.from_keras(model, verify=False)
