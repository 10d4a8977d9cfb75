"""The steps from integer forms to a synthesized design: plan, emit, emulate, simulate, stitch, synthesize."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qonnx_core.build.context import FOLDING, MISMATCH, PARTS, STITCHED, Integers
from qonnx_core.build.folder import make_directory
from qonnx_core.build.inputs import write_archive
from qonnx_core.errors import Mismatch

if TYPE_CHECKING:
    from qonnx_core.build.context import Context
    from qonnx_core.eda.streams import Component
    from qonnx_core.verify import Check

MIN_FRAMES_FOR_INTERVAL = 12
STRESS_FRAMES = 24
STRESS_GAP = 0.4
SEED = 1
FAMILY_TIMEOUT_S = 3600.0


def run_plan(context: Context, directory: Path) -> dict[str, Any]:
    """Let each backend decide on kernels and folding, and estimate cycles and resources."""
    if context.config.folding is not None:
        shutil.copyfile(context.config.folding, directory / FOLDING)
    estimates: dict[str, Any] = {}
    for part in context.parts:
        design = context.designs[part.name]
        estimates[part.name] = context.backends[part.backend].estimate(design).to_dict()
    (directory / "estimates.json").write_text(json.dumps(estimates, indent=2) + "\n")
    return {"estimates": estimates}


def run_emit(context: Context, _: Path) -> dict[str, Any]:
    """Write each part's sources, data files and manifest."""
    tops: dict[str, str] = {}

    def make(parts: Path) -> None:
        for number, part in enumerate(context.parts):
            context.say(f"writing {part.name}")
            out = parts / part.name
            out.mkdir()
            component = context.backends[part.backend].emit(
                context.designs[part.name], out, f"part{number}_{part.backend}"
            )
            tops[part.name] = component.manifest.top

    make_directory(context.output / PARTS, make)
    context.__dict__.pop("components", None)
    return {"tops": tops}


def run_emulate(context: Context, directory: Path) -> dict[str, Any]:
    """Run each backend's bit-exact software model on the samples and compare it with the integer form."""
    from qonnx_core.verify import compare_integers

    checks: list[Check] = []
    for part in context.parts:
        context.say(f"emulating {part.name}")
        work = directory / part.name
        work.mkdir()
        runner = context.backends[part.backend].emulate(context.designs[part.name], work)
        given = context.part_inputs(context.stage_integers, part)
        found = context.part_outputs(runner.run(given), part)
        expected = {tensor: context.stage_integers[tensor] for tensor in found}
        checks.append(
            compare_integers(expected, found, left=f"{part.name} integer form", right=f"{part.name} emulation")
        )
    context.require(checks)
    return {"checks": [check.to_dict() for check in checks]}


def run_simulate_parts(context: Context, directory: Path) -> dict[str, Any]:
    """Simulate each part alone, with random gaps and back-pressure; a single part is simulated as the whole design."""
    if len(context.parts) == 1:
        return {"checks": [], "note": "one part: it is simulated as the stitched design"}
    checks = []
    for part in context.parts:
        context.say(f"simulating {part.name}")
        component = context.components[part.name]
        checks.append(
            simulate_and_compare(
                context, component, directory / part.name, f"{part.name} emulation", f"{part.name} RTL", STRESS_GAP
            )[0]
        )
    context.require(checks)
    return {"checks": [check.to_dict() for check in checks]}


def run_stitch(context: Context, _: Path) -> dict[str, Any]:
    """Connect the parts to one design with AXI4-Stream ports, from their descriptors alone."""
    from qonnx_core.eda.stitch import stitch

    components = [context.components[part.name] for part in context.parts]

    def make(out: Path) -> None:
        stitch(components, out, inputs=context.entering, outputs=context.leaving_streams)

    make_directory(context.output / STITCHED, make)
    context.__dict__.pop("stitched", None)
    manifest = context.stitched.manifest
    return {"top": manifest.top, "sources": len(manifest.sources), "streams": [s.prefix for s in manifest.streams]}


def run_simulate(context: Context, directory: Path) -> dict[str, Any]:
    """Simulate the stitched design on every sample at full speed, and on some with gaps and back-pressure."""
    from qonnx_core.build.host import finish
    from qonnx_core.verify import compare_outputs

    context.say("compiling and simulating the stitched design")
    component = context.stitched
    full, result = simulate_and_compare(
        context, component, directory, "integer form", "stitched RTL", 0.0, measure=True
    )
    checks = [full]
    if full.passed:
        stressed, _ = simulate_and_compare(
            context, component, directory, "integer form", "stitched RTL with gaps and back-pressure", STRESS_GAP
        )
        outputs = finish(context, result["integers"])
        checks += [
            stressed,
            compare_outputs(
                context.model, context.samples.inputs, outputs, left="QONNX", right="stitched RTL and host tail"
            ),
        ]
        labels = context.samples.labels
        if labels is not None:
            from qonnx_core.build.prepare import accuracy

            result["accuracy_rtl"] = accuracy(next(iter(outputs.values())), labels)
    integers = result.pop("integers")
    write_archive(directory / "outputs.npz", integers)
    context.require(checks)
    return {**result, "checks": [check.to_dict() for check in checks]}


def simulate_and_compare(
    context: Context,
    component: Component,
    work: Path,
    left: str,
    right: str,
    gap: float,
    *,
    measure: bool = False,
) -> tuple[Check, dict[str, Any]]:
    """Return the check of a component's simulated outputs against the integer form, and what was measured.

    With gaps, some frames are enough; without, all samples run, repeated where fewer than an interval needs.
    """
    from qonnx_core.eda.simulate import Simulator
    from qonnx_core.verify import compare_integers

    work.mkdir(exist_ok=True)
    streams = component.manifest
    stages = context.stage_integers
    count = context.samples.count
    frames = min(count, STRESS_FRAMES) if gap else count
    order = np.arange(max(frames, MIN_FRAMES_FOR_INTERVAL)) % count if measure else np.arange(frames)
    simulator = Simulator.build(component, work)
    found = simulator.run(
        {s.prefix: _frames(stages[s.tensor], s.shape)[order] for s in streams.inputs},
        source_gap=gap,
        sink_gap=gap,
        seed=SEED,
    )
    expected = {s.tensor: _frames(stages[s.tensor], s.shape)[:frames] for s in streams.outputs}
    actual = {s.tensor: found.outputs[s.prefix][:frames].reshape(expected[s.tensor].shape) for s in streams.outputs}
    check = compare_integers(expected, actual, left=left, right=right)
    if not check.passed:
        _explain(context, component, work, check)
    return check, {
        "frames": len(order),
        "cycles": found.cycles,
        "latency_cycles": found.latency_cycles,
        "initiation_interval_cycles": found.initiation_interval_cycles,
        "integers": actual,
    }


def _frames(integers: Integers, shape: list[int]) -> Integers:
    """Return integers with the sample axis first and the frame as it travels behind it."""
    return integers.reshape(len(integers), *shape[1:])


def _explain(context: Context, component: Component, work: Path, check: Check) -> None:
    """Leave what a person needs to look into a mismatch: a VCD of that frame, its input, and a command; then raise."""
    from qonnx_core.eda.simulate import Simulator

    assert check.first is not None
    context.checks.append(check)
    sample = check.first.sample
    evidence = context.output / MISMATCH
    evidence.mkdir(exist_ok=True)
    vcd = evidence / f"sample{sample}.vcd"
    traced = Simulator.build(component, work, trace=True)
    traced.run(
        {
            s.prefix: _frames(context.stage_integers[s.tensor], s.shape)[sample : sample + 1]
            for s in component.manifest.inputs
        },
        vcd=vcd,
    )
    inputs = evidence / "inputs.npz"
    write_archive(inputs, {name: array[sample : sample + 1] for name, array in context.samples.inputs.items()})
    command = reproduce_command(context, inputs)
    (evidence / "README.txt").write_text(f"{check}\n\nReproduce with:\n{command}\n")
    raise Mismatch(
        f"{check.left} = {check.right}: {check.first}. Waves of that frame: {vcd}. Reproduce with: {command}"
    )


def reproduce_command(context: Context, inputs: Path) -> str:
    """Return the shell command that builds the same design for one saved sample."""
    import shlex

    config = context.config
    words = ["qonnx", "build", str(config.source), "--backend", config.backend]
    for name, text in config.input_types.items():
        words += ["--input-type", f"{name}={text}" if name else text]
    for option, value in (
        ("--rules", config.rules),
        ("--folding", config.folding),
        ("--target-fps", config.target_fps),
        ("--target-cycles", config.target_cycles),
        ("--part", config.part),
        ("--clock-ns", config.clock_ns),
    ):
        if value is not None:
            words += [option, str(value)]
    if config.label_select:
        words.append("--label-select")
    words += ["--data", str(inputs), "--steps", "simulate", "--output", str(inputs.parent / "again")]
    return shlex.join(words)


def run_synthesize(context: Context, directory: Path) -> dict[str, Any]:
    """Synthesize the stitched design with the one recipe, for the part's family or for those asked for."""
    from qonnx_core.eda.synthesize import synthesize

    resources: dict[str, Any] = {}
    for family in context.config.synthesize or (context.target.family,):
        context.say(f"synthesizing for {family}")
        found = synthesize(context.stitched, family, directory / family, FAMILY_TIMEOUT_S)
        resources[family] = {"lut": found.lut, "ff": found.ff, "bram18": found.bram18, "dsp": found.dsp}
    return {"resources": resources}
