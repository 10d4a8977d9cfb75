"""The trained model of the demo: accurate, the same each time, exported without a single differing number."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import qonnx_core
from export_brevitas import check_of, export_qonnx

EXAMPLE = Path(__file__).parents[3] / "examples" / "train_digits_brevitas.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    if not EXAMPLE.exists():
        pytest.skip(f"{EXAMPLE.name} is not here; this test needs the repository's examples")
    spec = importlib.util.spec_from_file_location("train_digits_brevitas", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_digits_model_is_exported_exactly(example: ModuleType) -> None:
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    model, x, y = example.train()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), random)
    assert example.accuracy(model, x, y) >= 0.93
    made = export_qonnx(model, torch.from_numpy(x[:1]), verify_inputs=x)
    check = check_of(made)
    assert check is not None
    assert check.equal == check.samples == len(x) + 1
    answers = qonnx_core.compile_model(made).run({"pixels": x})["output"].argmax(axis=1)
    assert float((answers == y).mean()) == example.accuracy(model, x, y)
    assert np.array_equal(np.unique(x), np.arange(17))
