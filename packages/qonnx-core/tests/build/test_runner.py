"""Steps are kept while their inputs are the same, run again when they change, and are never half there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from qonnx_core.build.config import BuildConfig
from qonnx_core.build.context import Context
from qonnx_core.build.folder import make_directory
from qonnx_core.build.runner import Event, Result, Step, resume, run_steps, select
from qonnx_core.errors import InvalidInput


def steps(log: list[str], *, broken: str = "") -> list[Step]:
    def make(name: str) -> Step:
        def run(_: Context, directory: Path) -> Result:
            log.append(name)
            (directory / "half").write_text("half")
            if name == broken:
                raise KeyboardInterrupt
            return {"said": name}

        options = {"first": ("source",), "second": ("clock_ns",), "third": ("seed",)}[name]
        return Step(name, name, run, options)

    return [make(name) for name in ("first", "second", "third")]


def build(tmp_path: Path, log: list[str], *, broken: str = "", **options: object) -> Context:
    source = tmp_path / "model.onnx"
    if not source.exists():
        source.write_bytes(b"one")
    config = BuildConfig(source=source, output=tmp_path / "out", **options)
    context = Context(config)
    context.__dict__["backends"] = {}
    resume(context, steps(log, broken=broken))
    run_steps(context, steps(log, broken=broken), lambda _: None)
    return context


def test_nothing_runs_twice_without_a_reason(tmp_path: Path) -> None:
    log: list[str] = []
    build(tmp_path, log)
    again = build(tmp_path, log)
    assert log == ["first", "second", "third"]
    assert again.results["third"] == {"said": "third"}


def test_a_changed_option_runs_its_step_and_those_behind_it(tmp_path: Path) -> None:
    log: list[str] = []
    build(tmp_path, log)
    build(tmp_path, log, clock_ns=5.0)
    assert log == ["first", "second", "third", "second", "third"]


def test_a_changed_file_of_the_same_name_runs_again(tmp_path: Path) -> None:
    log: list[str] = []
    build(tmp_path, log)
    (tmp_path / "model.onnx").write_bytes(b"two")
    build(tmp_path, log)
    assert log.count("first") == 2


def test_an_interrupted_step_leaves_no_directory_and_runs_again(tmp_path: Path) -> None:
    log: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, log, broken="second")
    assert [path.name for path in sorted((tmp_path / "out").glob("[0-9]*"))] == ["00_first"]
    build(tmp_path, log)
    assert log == ["first", "second", "second", "third"]
    assert not list((tmp_path / "out").glob(".partial*"))


def test_a_damaged_record_runs_again(tmp_path: Path) -> None:
    log: list[str] = []
    build(tmp_path, log)
    (tmp_path / "out" / "01_second" / "step.json").write_text('{"key": ')
    build(tmp_path, log)
    assert log == ["first", "second", "third", "second", "third"]


def test_listeners_hear_what_ran_and_what_was_kept(tmp_path: Path) -> None:
    build(tmp_path, [])
    events: list[Event] = []
    context = Context(BuildConfig(source=tmp_path / "model.onnx", output=tmp_path / "out", seed=5))
    context.__dict__["backends"] = {}
    resume(context, steps([]))
    run_steps(context, steps([]), events.append)
    assert [event.kind for event in events] == ["kept", "kept", "started", "done"]


def test_an_unknown_step_lists_the_known_ones() -> None:
    assert [step.name for step in select(steps([]), ["second"])] == ["first", "second"]
    with pytest.raises(InvalidInput, match=r"expected some of first, second, third\. Did you mean second\?"):
        select(steps([]), ["secnd"])


def test_results_of_other_options_do_not_stay(tmp_path: Path) -> None:
    build(tmp_path, [])
    context = Context(BuildConfig(source=tmp_path / "model.onnx", output=tmp_path / "out", clock_ns=5.0))
    context.__dict__["backends"] = {}
    resume(context, steps([]))
    assert list(context.results) == ["first"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00_first"]


def test_a_tree_that_is_gone_is_made_again(tmp_path: Path) -> None:
    def run(context: Context, _: Path) -> Result:
        make_directory(context.output / "tree", lambda tree: (tree / "leaf").touch())
        return {}

    config = BuildConfig(source=tmp_path / "model.onnx", output=tmp_path)
    for expected in ("done", "kept", "done"):
        context = Context(config)
        context.__dict__["backends"] = {}
        events: list[Event] = []
        step = Step("grow", "grow", run, (), ("tree",))
        resume(context, [step])
        run_steps(context, [step], events.append)
        assert events[-1].kind == expected
        if expected == "kept":
            shutil.rmtree(tmp_path / "tree")


def test_changed_external_data_are_noticed(tmp_path: Path) -> None:
    import onnx

    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[1] x) => (float[1] y) {y = Neg(x)}'
    )
    weight = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "w")
    onnx.external_data_helper.set_external_data(weight, "weights.bin")
    weight.ClearField("raw_data")
    model.graph.initializer.append(weight)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    context = Context(BuildConfig(source=tmp_path / "model.onnx", output=tmp_path / "out"))
    found = set()
    for content in (b"one", b"two"):
        (tmp_path / "weights.bin").write_bytes(content)
        found.add(context.fingerprint(("source",)))
    (tmp_path / "weights.bin").unlink()
    found.add(context.fingerprint(("source",)))
    assert len(found) == 3
