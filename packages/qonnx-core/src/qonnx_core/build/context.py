"""What the steps of a build share: the configuration, the results so far, and everything that is derived from them.

Nothing here is kept between runs but files: models, samples and components are read from the steps' directories, and
partitions, integer forms and designs are derived again from the cleaned model when a step that runs needs them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qonnx_core.build.config import MIXED, BuildConfig
from qonnx_core.build.inputs import Samples, read_archive
from qonnx_core.errors import InvalidInput
from qonnx_core.ir.grid import Grid

if TYPE_CHECKING:
    import onnx_ir as ir

    from qonnx_core.backend import Backend, Design
    from qonnx_core.eda.streams import Component
    from qonnx_core.eda.targets import Target
    from qonnx_core.partition import Partition, Partitioned, Rules
    from qonnx_core.passes.streamline import IntegerForm
    from qonnx_core.verify import Check

Integers = npt.NDArray[np.int64]

CLEANED = "model.onnx"
SAMPLES = "samples.npz"
RULES = "rules.yaml"
FOLDING = "folding.json"
PARTS = "parts"
STITCHED = "stitched"
HOST = "host"
MISMATCH = "mismatch"
RUN = "run"
_OURS = ("finn", "hls4ml")
"""The backends of this project, each in a package of its own."""


class Context:
    """The state of one build; see the module."""

    def __init__(self, config: BuildConfig, say: Callable[[str], None] = lambda _: None) -> None:
        self.config = config
        self.say = say
        self.output = config.output.absolute()
        self.checks: list[Check] = []
        self.running: str | None = None
        self.error: str | None = None
        self.results: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}

    def require(self, checks: Iterable[Check]) -> None:
        """Stop the build at the first check that has a mismatch; the report keeps what was found."""
        for check in checks:
            if not check.passed:
                self.checks.append(check)
            check.require()

    # -- what the results depend on -------------------------------------------------------------------------------

    def fingerprint(self, options: tuple[str, ...]) -> str:
        """Return a text that changes when one of the named options, or the content of a file it names, changes."""
        lines = []
        for name in options:
            value = getattr(self.config, name)
            if isinstance(value, Path):
                found = _digest(value)
                lines.append(f"{name}={value.name}:{found}")
            else:
                lines.append(f"{name}={value!r}")
        return "\n".join(lines)

    @cached_property
    def code(self) -> str:
        """A digest of the code that makes the results: this package, the backends in use, and the tools."""
        from qonnx_core.build.runner import code_digest

        return code_digest(
            ["qonnx_core", *(type(backend).__module__.split(".")[0] for backend in self.backends.values())]
        )

    # -- plug-ins and target --------------------------------------------------------------------------------------

    @cached_property
    def rules(self) -> Rules | None:
        """The user's rules; without them `--backend mixed` has a default split, which needs the model."""
        from qonnx_core.partition import Rules

        if self.config.rules is not None:
            return Rules.from_file(self.config.rules)
        return None if self.config.backend == MIXED else Rules.single(self.config.backend)

    @cached_property
    def backends(self) -> dict[str, Backend]:
        """The backends that this build uses; no other one is imported.

        Raises:
            InvalidInput: when a wanted backend is not installed, or its name is no backend's.
        """
        from qonnx_core import plugins
        from qonnx_core.partition import HOST as HOST_RULE
        from qonnx_core.partition.rules import near

        if self.rules is None:
            wanted = set(_OURS)
        else:
            wanted = {self.rules.default, *(rule.backend for rule in self.rules.rules)} - {HOST_RULE}
        installed = plugins.names("backends")
        for name in sorted(wanted - {*installed, *_OURS}):
            hint = near(name, sorted({*installed, *_OURS, MIXED}))
            raise InvalidInput(
                f"backend {name}: there is none of this name; found {', '.join(installed) or 'none'}. {hint}"
            )
        if missing := sorted(wanted - set(installed)):
            raise InvalidInput(
                f"backend {' and '.join(missing)}: not installed; found {', '.join(installed) or 'none'}. "
                f"Install {' '.join(f'backend-{name}' for name in missing)}, or choose --backend from those or {MIXED}."
            )
        return {name: plugins.load("backends", name) for name in sorted(wanted)}

    @cached_property
    def target(self) -> Target:
        """The part and the clock that the hardware is for."""
        from qonnx_core.eda.targets import Target

        return Target(part=self.config.part, clock_ns=self.config.clock_ns)

    # -- models and samples ---------------------------------------------------------------------------------------

    def directory(self, step: str) -> Path:
        """Return the directory of a finished step."""
        found = sorted(self.output.glob(f"[0-9][0-9]_{step}"))
        assert found, f"step {step} has not run"
        return found[0]

    @cached_property
    def cleaned(self) -> ir.Model:
        """The cleaned QONNX model; names refer to it."""
        from qonnx_core import load

        return load(self.directory("clean") / CLEANED)

    @cached_property
    def model(self) -> ir.Model:
        """The model that is built: the cleaned one, ending in ArgMax where the hardware is to name the class."""
        if not self.config.label_select:
            return self.cleaned
        from qonnx_core.passes.append_argmax import AppendArgMax

        model = self.cleaned.clone()
        AppendArgMax().run(model)
        return model

    @cached_property
    def grids(self) -> dict[str, Grid]:
        """The grid of each model input."""
        return {name: Grid.parse(text) for name, text in self.results["samples"]["grids"].items()}

    @cached_property
    def samples(self) -> Samples:
        """The samples, on the grid."""
        arrays = read_archive(self.directory("samples") / SAMPLES)

        def group(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

        return Samples(
            inputs=group("in:"),
            outputs=group("out:"),
            labels=arrays.get("labels"),
            off_grid=self.results["samples"]["off_grid"],
        )

    # -- partitions -----------------------------------------------------------------------------------------------

    @cached_property
    def partitioned(self) -> Partitioned:
        """The model cut into parts."""
        from qonnx_core.partition import default_mixed_rules, partition

        rules = self.rules or default_mixed_rules(self.model)
        return partition(self.model, rules, self.grids, backends=sorted(self.backends))

    @property
    def parts(self) -> tuple[Partition, ...]:
        """The parts in the order of the data flow."""
        return self.partitioned.parts

    @cached_property
    def forms(self) -> dict[str, IntegerForm]:
        """The integer form of each part, in the spelling its backend wants; grids flow from part to part."""
        from qonnx_core.passes.streamline import to_integer_form

        forms: dict[str, IntegerForm] = {}
        grids: dict[str, Grid] = dict(self.grids)
        for part in self.parts:
            wanted = {name: grids.get(name) or part.input_grids[name] for name in part.inputs}
            form = to_integer_form(part.model, wanted, quantizer=self.backends[part.backend].quantizer)
            grids.update({port.tensor: port.grid for port in form.outputs})
            forms[part.name] = form
        return forms

    @cached_property
    def designs(self) -> dict[str, Design]:
        """The plan of each part."""
        from qonnx_core.build.planning import plan_part

        designs: dict[str, Design] = {}
        for part in self.parts:
            self.say(f"planning {part.name}")
            designs[part.name] = plan_part(self, part)
        return designs

    @cached_property
    def components(self) -> dict[str, Component]:
        """The emitted component of each part."""
        from qonnx_core.eda.streams import Component

        return {part.name: Component.read(self.output / PARTS / part.name) for part in self.parts}

    # -- integers between the parts -------------------------------------------------------------------------------

    def part_inputs(self, values: Mapping[str, Integers], part: Partition) -> dict[str, Integers]:
        """Return a part's inputs under its port names, of the integers known under the model's tensor names."""
        return {port.name: values[port.tensor] for port in self.forms[part.name].inputs}

    def part_outputs(self, outputs: Mapping[str, Integers], part: Partition) -> dict[str, Integers]:
        """Return a part's outputs under the model's tensor names."""
        return {port.tensor: outputs[port.name] for port in self.forms[part.name].outputs}

    def encode_inputs(self, inputs: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, Integers]:
        """Return the model's inputs as the integers on the wire, in travel order, under the model's names."""
        from qonnx_core import compile_model

        values: dict[str, npt.NDArray[np.generic]] = dict(inputs)
        if self.partitioned.head is not None:
            wanted = [value.name or "" for value in self.partitioned.head.graph.inputs]
            values.update(compile_model(self.partitioned.head).run({name: values[name] for name in wanted}))
        ports = {port.tensor: port for part in self.parts for port in self.forms[part.name].inputs}
        return {name: ports[name].to_integers(array)[0] for name, array in values.items() if name in ports}

    @cached_property
    def stage_integers(self) -> dict[str, Integers]:
        """The integers on every wire between parts and at the ends, by executing the integer forms."""
        values = self.encode_inputs(self.samples.inputs)
        for part in self.parts:
            values.update(self.part_outputs(self.forms[part.name].run(self.part_inputs(values, part)), part))
        return values

    @cached_property
    def entering(self) -> list[str]:
        """The tensors that enter the hardware, in the order of the model's inputs that they are or are made of."""
        from qonnx_core.build.link import sources_of_outputs

        made = {tensor for part in self.parts for tensor in part.outputs}
        read = dict.fromkeys(tensor for part in self.parts for tensor in part.inputs if tensor not in made)
        head = self.partitioned.head
        behind = sources_of_outputs(head) if head is not None else {}
        ordered: dict[str, None] = {}
        for value in self.model.graph.inputs:
            name = value.name or ""
            from_here = [name, *(tensor for tensor, sources in behind.items() if name in sources)]
            ordered.update(dict.fromkeys(tensor for tensor in from_here if tensor in read))
        return list(ordered | read)

    @cached_property
    def leaving(self) -> list[str]:
        """The tensors that leave the hardware, in the order of the model's outputs that they are or go into."""
        from qonnx_core.build.link import sources_of_outputs

        made = {tensor for part in self.parts for tensor in part.outputs}
        tail = self.partitioned.tail
        before = sources_of_outputs(tail) if tail is not None else {}
        entries = [value.name or "" for value in tail.graph.inputs] if tail is not None else []
        ordered: dict[str, None] = {}
        for name in self.partitioned.outputs:
            sources = before.get(name, set())
            from_here = [name, *(tensor for tensor in entries if tensor in sources)]
            ordered.update(dict.fromkeys(tensor for tensor in from_here if tensor in made))
        return list(ordered)

    @cached_property
    def leaving_streams(self) -> list[str]:
        """The tensors of the streams that leave the hardware: before a float end, the integers in front."""
        from qonnx_core.build.link import sources_of_outputs

        streams: dict[str, None] = {}
        for tensor in self.leaving:
            for part in self.parts:
                form = self.forms[part.name]
                sources = sources_of_outputs(form.post).get(tensor, set())
                names = [value.name or "" for value in form.post.graph.inputs]
                pairs = zip(names, form.outputs, strict=True)
                streams.update(dict.fromkeys(port.tensor for name, port in pairs if name in sources))
        return list(streams)

    @property
    def output_tensors(self) -> list[str]:
        """The tensors that leave the hardware, in the order of the stitched design's outputs."""
        return [stream.tensor for stream in self.stitched.manifest.outputs]

    @cached_property
    def stitched(self) -> Component:
        """The stitched design."""
        from qonnx_core.eda.streams import Component

        return Component.read(self.output / STITCHED)


def _digest(path: Path) -> str:
    """Return a digest of a file's content, and of the files beside a model that hold its external tensors."""
    from qonnx_core.formats.file_checks import external_files

    files = [path, *(external_files(path) if path.suffix.lower() == ".onnx" else ())]
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest() if file.is_file() else b"absent")
    return digest.hexdigest()
