"""Folding: FINN's JSON in, legal folds only, targets met, the folding used out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backend_finn import BACKEND
from backend_finn.folding import apply_folding, fold_to_cycles, target_cycles_of
from backend_finn.graph import KernelGraph, kernel_graph
from qonnx_core.eda.targets import Target
from qonnx_core.errors import InvalidInput


@pytest.fixture
def form(make: SimpleNamespace) -> Any:
    rng = np.random.default_rng(0)
    x = make.tensor("x", (1, 12), "UINT8")
    act = make.thresholds(rng, x, "UINT2", shared=True, name="quant")
    first = make.product(rng, act.output, 8, "BIPOLAR", name="first")
    hidden = make.thresholds(rng, first.output, "UINT2", name="hidden")
    second = make.product(rng, hidden.output, 10, "INT2", name="second")
    labels = make.view.LabelSelect("top", second.output, make.tensor("label", (1, 1), "UINT4"), 1)
    return make.form(act, first, hidden, second, labels)


@pytest.fixture
def graph(form: Any) -> KernelGraph:
    return kernel_graph(form.layers(), form.inputs, form.outputs)


def folds(graph: KernelGraph) -> dict[str, dict[str, int]]:
    return {kernel.name: dict(kernel.folds) for kernel in graph.kernels}


def test_positional_names_of_any_finn_version_name_our_kernels(graph: KernelGraph) -> None:
    folded, folding = apply_folding(
        graph,
        {
            "Defaults": {},
            "Thresholding_rtl_0": {"PE": 6, "mem_mode": "internal_decoupled"},
            "MVAU_hls_0": {"PE": 4, "SIMD": 3, "ram_style": "auto"},
            "MVAU_1": {"PE": 5, "SIMD": 2},
            "LabelSelect_Batch_0": {"PE": 2},
            "StreamingFIFO_rtl_3": {"depth": 32},
        },
    )
    assert folds(folded) == {
        "quant": {"PE": 6},
        "first": {"PE": 4, "SIMD": 3},
        "second": {"PE": 5, "SIMD": 2},
        "top": {"PE": 2},
    }
    assert any("ram_style ignored" in note for note in folding.notes)
    assert any(note.startswith("StreamingFIFO_rtl_3: ignored") for note in folding.notes)


def test_names_of_the_form_and_files_work(graph: KernelGraph, tmp_path: Path) -> None:
    path = tmp_path / "folding.json"
    path.write_text(json.dumps({"first": {"PE": 2, "SIMD": 12}}))
    assert folds(apply_folding(graph, path)[0])["first"] == {"PE": 2, "SIMD": 12}


def test_defaults_reach_the_operators_that_they_name(graph: KernelGraph) -> None:
    folded, _ = apply_folding(graph, {"Defaults": {"PE": [2, ["MVAU_hls"]], "ram_style": ["auto", ["all"]]}})
    assert folds(folded)["first"] == {"PE": 2, "SIMD": 1}
    assert folds(folded)["quant"] == {"PE": 1}


def test_the_folding_used_reads_back_as_the_same(graph: KernelGraph) -> None:
    folded, folding = apply_folding(graph, {"MVAU_0": {"PE": 4, "SIMD": 6}})
    again, _ = apply_folding(graph, json.loads(folding.to_json()))
    assert folds(again) == folds(folded)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"MVAU_hls_7": {"PE": 1}},
            r"found no node 'MVAU_hls_7'; expected one of quant \(or Thresholding_0\), first \(or MVAU_0\)",
        ),
        ({"MVAU_0": {"PE": 3}}, r"MVAU_0 has PE = 3; expected one of 1, 2, 4, 8 \(first: 12 elements in, 8 out\)"),
        ({"first": {"SIMD": 5}}, r"first has SIMD = 5; expected one of 1, 2, 3, 4, 6, 12"),
        ({"first": {"PE": 2.0}}, r"first has PE = 2.0; expected one of 1, 2, 4, 8"),
        ({"first": {"PE": True}}, r"first has PE = True"),
        ({"first": {"Pe": 2}}, r"first has no attribute 'Pe'; expected PE, SIMD"),
        ({"quant": {"SIMD": 2}}, r"quant has no attribute 'SIMD'; expected PE of this node"),
        ({"first": {"PE": 1}, "MVAU_rtl_0": {"PE": 1}}, r"first and MVAU_rtl_0 name the same node first"),
        ({"first": 3}, r"first is 3; expected attributes"),
        ({"Defaults": {"PE": 3}}, r"Defaults has 'PE': 3; expected for example"),
        ({"Defaults": []}, r"Defaults is \[\]"),
    ],
)
def test_a_wrong_folding_is_refused_with_the_legal_ones(
    graph: KernelGraph, given: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        apply_folding(graph, given)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_file_that_is_no_json_object_is_refused(graph: KernelGraph, tmp_path: Path, content: str) -> None:
    path = tmp_path / "folding.json"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=r"folding .*folding\.json: "):
        apply_folding(graph, path)


def test_a_missing_file_is_named(graph: KernelGraph, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"missing\.json: No such file"):
        apply_folding(graph, tmp_path / "missing.json")


@pytest.mark.parametrize("target", [1, 2, 7, 16, 50, 1000])
def test_every_kernel_meets_the_target_and_wastes_little(graph: KernelGraph, target: int) -> None:
    folded = fold_to_cycles(graph, target)
    assert all(kernel.cycles <= target for kernel in folded.kernels)
    for kernel in folded.kernels:
        for name, value in kernel.folds.items():
            smaller = [legal for legal in kernel.legal_folds[name] if legal < value]
            if name == "SIMD" and smaller:
                assert kernel.folded(SIMD=smaller[-1]).cycles > target


def test_a_target_that_cannot_be_met_is_refused(make: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    layer = make.product(rng, make.tensor("x", (1, 5, 4), "UINT2"), 4, "INT2")
    made = make.form(layer)
    with pytest.raises(InvalidInput, match=r"fc cannot do a frame in 3 cycles; expected at least 5"):
        fold_to_cycles(kernel_graph(made.layers(), made.inputs, made.outputs), 3)


def test_frames_per_second_become_cycles() -> None:
    assert target_cycles_of(1_000_000, 10.0) == 100
    with pytest.raises(InvalidInput, match=r"target_fps: found 1e\+20"):
        target_cycles_of(1e20, 10.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"foldng": {}}, r"found foldng; expected folding, target_fps, target_cycles"),
        ({"target_fps": 1e5, "target_cycles": 10}, r"found target_cycles and target_fps; expected one of them"),
        ({"target_cycles": 2.5}, r"target_cycles: found 2.5; expected a whole number"),
        ({"target_cycles": 0}, r"target_cycles: found 0; expected at least 1"),
        ({"target_fps": "fast"}, r"target_fps: found 'fast'; expected a number"),
        ({"folding": 3}, r"folding: found int; expected a path or a mapping"),
    ],
)
def test_wrong_options_are_refused(form: Any, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        BACKEND.plan(form, Target(), options)


def test_without_options_a_frame_takes_at_most_sixty_four_cycles_here(form: Any) -> None:
    assert BACKEND.estimate(BACKEND.plan(form, Target())).cycles <= 64


def test_reports_have_the_names_and_keys_of_finn(form: Any, tmp_path: Path) -> None:
    design = BACKEND.plan(form, Target(), {"target_cycles": 24})
    BACKEND.emit(design, tmp_path, "dut")
    reports = {path.name: json.loads(path.read_text()) for path in (tmp_path / "report").iterdir()}
    assert set(reports) == {
        "estimate_layer_cycles.json",
        "estimate_layer_resources.json",
        "estimate_network_performance.json",
        "op_and_param_counts.json",
    }
    performance = reports["estimate_network_performance.json"]
    assert performance["max_cycles"] == max(reports["estimate_layer_cycles.json"].values())
    assert performance["estimated_throughput_fps"] == pytest.approx(1e8 / performance["max_cycles"])
    assert {"LUT", "BRAM_18K", "DSP", "URAM"} <= set(reports["estimate_layer_resources.json"]["total"])
    assert reports["op_and_param_counts.json"]["total"]["op_mac_UINT2_BIPOLAR"] == 96
    assert json.loads((tmp_path / "folding.json").read_text())["first"].keys() == {"PE", "SIMD"}
