"""The steps of a build in order, and running them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qonnx_core.build import hardware, prepare
from qonnx_core.build.config import BuildConfig, require_file
from qonnx_core.build.context import HOST, MISMATCH, PARTS, RUN, STITCHED, Context
from qonnx_core.build.folder import CONFIG, discard, held, write_text
from qonnx_core.build.report import REPORT_HTML, REPORT_JSON, collect, write_report
from qonnx_core.build.runner import Event, Listener, Step, directory_name, resume, run_steps, select
from qonnx_core.errors import QonnxError

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

_OWN_NAMES = (
    *(directory_name(number, step) for number, step in enumerate(STEPS)),
    *(tree for step in STEPS for tree in step.trees),
    *(MISMATCH, RUN, REPORT_JSON, REPORT_HTML),
)


class Build:
    """One run from a source to verified hardware in a folder; running it again goes on where it stopped."""

    def __init__(self, config: BuildConfig) -> None:
        self.config = config

    def run(self, listen: Listener = lambda _: None) -> dict[str, Any]:
        """Run the steps and return the report (see `report.json`); a build that is refused or fails leaves one too.

        One build at a time works in a folder. An interruption at any moment leaves no half-written result under a final
        name, and no child process.

        Raises:
            InvalidInput, InvalidModel, Unsupported: when the model, the data or an option is refused.
            Mismatch: at the first two results that have to be equal and are not; the report holds the check.
            ToolMissing, ToolFailed: when Verilator, Yosys or the compiler is absent or fails.
        """
        steps = select(STEPS, self.config.steps)
        context = Context(self.config, lambda text: listen(Event("remark", text)))
        self._check_options(context)
        with held(context.output, _OWN_NAMES):
            for name in (REPORT_JSON, REPORT_HTML, MISMATCH):
                discard(context.output / name)
            resume(context, STEPS)
            write_text(context.output / CONFIG, _portable(self.config).model_dump_json(indent=2) + "\n")
            try:
                run_steps(context, steps, listen)
            except QonnxError as error:
                context.error = str(error)
                write_report(context, STEPS, steps)
                raise
            write_report(context, STEPS, steps)
            return collect(context, STEPS, steps)

    def _check_options(self, context: Context) -> None:
        """Refuse what can be refused before anything in the folder is touched."""
        _ = context.target
        config = self.config
        require_file(config.source, "a QONNX model (.onnx), or a saved model that an installed frontend reads")
        for path, what in (
            (config.rules, "the rules of --rules, a YAML file"),
            (config.data, "the samples of --data, an .npz with the inputs under their names or `x`"),
            (config.folding, "the folding of --folding, a JSON file"),
        ):
            if path is not None:
                require_file(path, what)
        _ = context.backends


def _portable(config: BuildConfig) -> BuildConfig:
    """Return the configuration with absolute paths, so that a finished build is found from anywhere."""
    absolute = {
        name: Path(value).absolute()
        for name in ("source", "output", "rules", "data", "folding")
        if (value := getattr(config, name)) is not None
    }
    return config.model_copy(update=absolute)
