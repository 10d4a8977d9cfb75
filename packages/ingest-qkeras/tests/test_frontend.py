from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ingest_qkeras
from ingest_qkeras.environment import load_frameworks
from qonnx_core import InvalidInput, compile_model
from qonnx_core.testing.frontend_contract import FrontendContract, UnsupportedCase


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frameworks = load_frameworks()
    tf, qk = frameworks.tf, frameworks.qkeras
    x = tf.keras.Input((8,), name="x")
    y = qk.QDense(6, kernel_quantizer="quantized_bits(4,0)", bias_quantizer="quantized_bits(4,0)", name="fc1")(x)
    y = qk.QActivation("quantized_relu(4,1)", name="relu1")(y)
    path = tmp_path_factory.mktemp("qkeras") / "model.h5"
    tf.keras.Model(x, tf.keras.layers.Softmax(name="softmax")(y), name="net").save(path)
    return path


@pytest.fixture(scope="module")
def unsupported() -> UnsupportedCase:
    frameworks = load_frameworks()
    tf, qk = frameworks.tf, frameworks.qkeras
    model = tf.keras.Sequential(
        [
            tf.keras.Input((8, 8, 1)),
            qk.QConv2D(2, 3, kernel_quantizer="quantized_bits(4,0,alpha=1)", name="conv1"),
            tf.keras.layers.Flatten(),
        ],
        name="cnn",
    )
    return UnsupportedCase(model, "cnn/conv1", "QConv2D")


class TestContract(FrontendContract):
    entry = "qkeras"


def test_a_live_model_is_recognized(build: Any, tf: Any) -> None:
    assert ingest_qkeras.FRONTEND.recognizes(build(tf.keras.layers.Dense(2)))
    assert not ingest_qkeras.FRONTEND.recognizes(tf.keras.layers.Dense(2))


def test_a_live_model_is_read(build: Any, tf: Any) -> None:
    model = build(tf.keras.layers.Dense(2, name="fc"))
    x = np.ones((2, 8), np.float32)
    found = compile_model(ingest_qkeras.FRONTEND.read(model)).run({"x": x})
    np.testing.assert_allclose(found["fc"], model.predict(x, verbose=0), rtol=1e-6)


def test_something_else_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"source: a builtins\.int; expected a Keras model"):
        ingest_qkeras.from_keras(3)


def test_a_model_of_keras_3_is_refused(tf: Any) -> None:
    keras = pytest.importorskip("keras", reason="Keras 3 is not installed")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(InvalidInput, match=r"a model of Keras 3.*Set TF_USE_LEGACY_KERAS=1"):
        ingest_qkeras.from_keras(model)
