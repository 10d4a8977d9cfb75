"""Options of a build reach the backends that take them, and a target holds for the others too."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qonnx_core.build.config import BuildConfig
from qonnx_core.build.planning import plan_part
from qonnx_core.errors import InvalidInput


class Recorder:
    """A backend that remembers the options of its plans and needs so many cycles a frame."""

    def __init__(self, *plan_options: str, cycles: int = 1) -> None:
        self.cycles = cycles
        self.seen: list[dict[str, Any]] = []
        if plan_options:
            self.plan_options = plan_options

    def plan(self, form: object, target: object, options: dict[str, Any]) -> str:
        self.seen.append(options)
        return "design"

    def estimate(self, design: object) -> SimpleNamespace:
        return SimpleNamespace(cycles=self.cycles)


def context(tmp_path: Path, backends: dict[str, Recorder], parts: dict[str, tuple[str, ...]], **options: Any) -> Any:
    made = [SimpleNamespace(name=name, backend=name.split("_")[1], nodes=nodes) for name, nodes in parts.items()]
    return SimpleNamespace(
        config=BuildConfig(source=tmp_path / "m.onnx", output=tmp_path, backend="mixed", **options),
        backends=backends,
        parts=tuple(made),
        forms=dict.fromkeys(parts),
        target=None,
    )


def folds() -> Recorder:
    return Recorder("folding", "target_fps", "target_cycles")


def test_a_backend_gets_the_options_it_takes(tmp_path: Path) -> None:
    backends = {"finn": folds(), "hls4ml": Recorder()}
    state = context(tmp_path, backends, {"0_finn": ("a",), "1_hls4ml": ("b",)}, target_cycles=4)
    for part in state.parts:
        plan_part(state, part)
    assert backends["finn"].seen == [{"target_cycles": 4}]
    assert backends["hls4ml"].seen == [{}]


def test_one_folding_is_shared_out_by_node_names(tmp_path: Path) -> None:
    folding = tmp_path / "folding.json"
    folding.write_text(json.dumps({"Defaults": {}, "a": {"PE": 2}, "c": {"PE": 3}, "typo": {"PE": 1}}))
    backends = {"finn": folds(), "hls4ml": Recorder()}
    parts = {"0_finn": ("a",), "1_hls4ml": ("b",), "2_finn": ("c",)}
    state = context(tmp_path, backends, parts, folding=folding)
    for part in state.parts:
        plan_part(state, part)
    assert [list(seen["folding"]) for seen in backends["finn"].seen] == [
        ["Defaults", "a", "typo"],
        ["Defaults", "c", "typo"],
    ]
    alone = context(tmp_path, {"finn": folds()}, {"0_finn": ("a", "c")}, folding=folding)
    plan_part(alone, alone.parts[0])
    assert alone.backends["finn"].seen == [{"folding": folding}]


def test_a_folding_without_a_backend_that_folds_is_refused(tmp_path: Path) -> None:
    state = context(tmp_path, {"hls4ml": Recorder()}, {"0_hls4ml": ("a",)}, folding=tmp_path / "f.json")
    with pytest.raises(InvalidInput, match=r"--folding: no part is built by a backend that folds \(found hls4ml\)"):
        plan_part(state, state.parts[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_cycles": 3}, r"--target-cycles 3: 0_hls4ml does 4 cycles a frame.*Raise it"),
        ({"target_fps": 1e8}, r"--target-fps 1e\+08: 0_hls4ml does 25000000 frames a second.*Lower it"),
    ],
)
def test_a_target_that_a_backend_without_folding_misses_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    state = context(tmp_path, {"hls4ml": Recorder(cycles=4)}, {"0_hls4ml": ("a",)}, **options)
    with pytest.raises(InvalidInput, match=message):
        plan_part(state, state.parts[0])
    met = context(tmp_path, {"hls4ml": Recorder(cycles=1)}, {"0_hls4ml": ("a",)}, **options)
    assert plan_part(met, met.parts[0]) == "design"
