"""The steps of a build in order, and running them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qonnx_core.build import hardware, prepare
from qonnx_core.build.config import BuildConfig
from qonnx_core.build.context import HOST, PARTS, STITCHED, Context
from qonnx_core.build.report import collect, write_report
from qonnx_core.build.runner import Event, Listener, Step, run_steps, select
from qonnx_core.errors import Mismatch

CONFIG = "build.json"

STEPS: tuple[Step, ...] = (
    Step("load", "read the model", prepare.run_load, ("source",)),
    Step("clean", "clean the model up", prepare.run_clean),
    Step(
        "samples",
        "bring the samples onto the input grid",
        prepare.run_samples,
        ("data", "input_types", "samples", "seed", "label_select"),
    ),
    Step("partition", "cut the model into parts", prepare.run_partition, ("backend", "rules")),
    Step("integer_form", "bring the parts to integer form", prepare.run_integer_form, (), (HOST,)),
    Step(
        "plan",
        "choose kernels and folding",
        hardware.run_plan,
        ("folding", "target_fps", "target_cycles", "part", "clock_ns"),
    ),
    Step("emit", "write the hardware of each part", hardware.run_emit, (), (PARTS,)),
    Step("emulate", "emulate each part", hardware.run_emulate),
    Step("simulate_parts", "simulate each part", hardware.run_simulate_parts),
    Step("stitch", "stitch the parts", hardware.run_stitch, (), (STITCHED,)),
    Step("simulate", "simulate the stitched design", hardware.run_simulate),
    Step("synthesize", "synthesize the stitched design", hardware.run_synthesize, ("synthesize",)),
)


class Build:
    """One run from a source to verified hardware in a folder; running it again goes on where it stopped."""

    def __init__(self, config: BuildConfig) -> None:
        self.config = config

    def run(self, listen: Listener = lambda _: None) -> dict[str, Any]:
        """Run the steps and return the report (see `report.json`).

        Raises:
            InvalidInput, InvalidModel, Unsupported: when the model, the data or an option is refused.
            Mismatch: at the first two results that have to be equal and are not; the report holds the check.
            ToolMissing, ToolFailed: when Verilator, Yosys or the compiler is absent or fails.
        """
        steps = select(STEPS, self.config.steps)
        context = Context(self.config, lambda text: listen(Event("remark", text)))
        _ = context.target, context.backends  # refuse a wrong part or backend before anything else
        context.output.mkdir(parents=True, exist_ok=True)
        (context.output / CONFIG).write_text(_portable(self.config).model_dump_json(indent=2) + "\n")
        try:
            run_steps(context, steps, listen)
        except Mismatch:
            write_report(context, steps)
            raise
        write_report(context, steps)
        return collect(context, steps)


def _portable(config: BuildConfig) -> BuildConfig:
    """Return the configuration with absolute paths, so that a finished build is found from anywhere."""
    absolute = {
        name: Path(value).absolute()
        for name in ("source", "output", "rules", "data", "folding")
        if (value := getattr(config, name)) is not None
    }
    return config.model_copy(update=absolute)
