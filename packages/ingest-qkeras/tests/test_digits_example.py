"""The example trains, converts exactly, and gives the same model twice."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ingest_qkeras
from qonnx_core import compile_model

EXAMPLE = Path(__file__).parents[3] / "examples" / "train_digits_qkeras.py"


@pytest.fixture(scope="module")
def example(tf: Any) -> Any:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed; it holds the digits")
    if not EXAMPLE.is_file():
        pytest.skip(f"{EXAMPLE.name} is not beside the package (an installed sdist?)")
    spec = importlib.util.spec_from_file_location("train_digits_qkeras", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_digits_network_is_exact_on_the_held_out_part(example: Any) -> None:
    model, x_test, y_test = example.train()
    assert (x_test.shape, x_test.dtype) == ((540, 64), np.float32)
    np.testing.assert_array_equal(x_test * 16, np.round(x_test * 16))
    converted = ingest_qkeras.from_keras(model, verify_inputs=x_test)
    check = ingest_qkeras.compare_with_keras(converted, model, x_test)
    assert check.equal == len(x_test)
    logits = compile_model(converted).run({"pixels": x_test})["fc3"]
    assert (logits.argmax(axis=1) == y_test).mean() >= 0.93


def test_the_same_seed_gives_the_same_weights(example: Any) -> None:
    first, second = (example.train(seed=3, epochs=2)[0].get_weights() for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
