from __future__ import annotations

from typing import Any

import pytest

from ingest_qkeras.environment import Frameworks, load_frameworks


@pytest.fixture(scope="session")
def frameworks() -> Frameworks:
    return load_frameworks()


@pytest.fixture(scope="session")
def tf(frameworks: Frameworks) -> Any:
    return frameworks.tf


@pytest.fixture(scope="session")
def qk(frameworks: Frameworks) -> Any:
    return frameworks.qkeras


@pytest.fixture
def build(tf: Any, qk: Any) -> Any:
    """Return a function that makes a functional model of layers in a row, seeded, its biases not zero."""

    def make(*layers: Any, shape: tuple[int | None, ...] = (8,), name: str = "net") -> Any:
        tf.keras.utils.set_random_seed(0)
        x = inputs = tf.keras.Input(shape, name="x")
        for layer in layers:
            x = layer(x)
        model = tf.keras.Model(inputs, x, name=name)
        for variable in model.trainable_variables:
            if variable.name.endswith(("bias:0", "beta:0")):
                variable.assign(tf.random.uniform(variable.shape, -1, 1, seed=1))
        return model

    return make
