"""The host's side of a build: float pre- and post-processing around the hardware, and running a finished build.

``host/pre.onnx`` turns the model's float inputs into the integers on the wire, ``host/post.onnx`` turns the integers
that leave the hardware into the model's outputs: dequantization, then the model's own float tail (a final scale, bias,
softmax). Both run in stock onnxruntime.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import numpy as np
import numpy.typing as npt

from qonnx_core.build.config import BuildConfig
from qonnx_core.build.context import RUN
from qonnx_core.build.folder import CONFIG
from qonnx_core.build.inputs import bring_on_grid, frame_shape, spoken_list
from qonnx_core.build.runner import read_record
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    import onnx_ir as ir

    from qonnx_core.backend import Runner
    from qonnx_core.build.context import Context
    from qonnx_core.partition import Partition

Engine = Literal["emulation", "simulation", "integer"]
ENGINES: tuple[Engine, ...] = get_args(Engine)
Array = npt.NDArray[np.generic]
Integers = npt.NDArray[np.int64]

PRE, POST = "pre.onnx", "post.onnx"


def finish(context: Context, integers: Mapping[str, Integers]) -> dict[str, Array]:
    """Return the model's outputs from the integers that left the hardware, both under the model's tensor names."""
    from qonnx_core import compile_model

    values: dict[str, Array] = {}
    for part in context.parts:
        ports = context.forms[part.name].outputs
        names = [value.name or "" for value in context.forms[part.name].post.graph.inputs]
        given = {
            name: integers[port.tensor].reshape(-1, *port.shape[1:])
            for name, port in zip(names, ports, strict=True)
            if port.tensor in context.leaving_streams
        }
        if given:
            values.update(compile_model(_post(context, part)).run(given))
    tail = context.partitioned.tail
    if tail is not None:
        names = [value.name or "" for value in tail.graph.inputs]
        values.update(compile_model(tail).run({name: values[name] for name in names}))
    return {value.name or "": values[value.name or ""] for value in context.model.graph.outputs}


def _post(context: Context, part: Partition) -> ir.Model:
    """Return what brings the integers of a part that leave the hardware back to the model's numbers."""
    from qonnx_core.build.link import keep_outputs

    return keep_outputs(context.forms[part.name].post, context.leaving)


def write_host_models(context: Context, host: Path) -> None:
    """Write `pre.onnx` and `post.onnx`: what the host computes before and after the hardware."""
    from qonnx_core import save
    from qonnx_core.build.link import keep_outputs, link_models

    cut = context.partitioned
    head = [cut.head] if cut.head is not None else []
    tail = [cut.tail] if cut.tail is not None else []
    before = []
    integers: dict[str, str] = {}  # by tensor that enters the hardware: what the host calls its integers
    for form in (context.forms[part.name] for part in context.parts):
        names = [value.name or "" for value in form.pre.graph.outputs]
        new = {
            port.tensor: name
            for port, name in zip(form.inputs, names, strict=True)
            if port.tensor in context.entering and port.tensor not in integers
        }
        if new:
            before.append(keep_outputs(form.pre, set(new.values())))
            integers |= new
    behind = [_post(context, part) for part in context.parts if not set(context.leaving).isdisjoint(part.outputs)]
    save(
        link_models([*head, *before], "host_pre", [integers[name] for name in context.entering]),
        host / PRE,
        with_functions=True,
    )
    save(link_models([*behind, *tail], "host_post", cut.outputs), host / POST, with_functions=True)


class FinishedBuild:
    """A build on disk, run like a function: float in, float out, with the hardware's integers in between."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._runners: dict[str, Runner] = {}

    @overload
    def run(self, inputs: Array, *, engine: Engine = ...) -> Array: ...
    @overload
    def run(self, inputs: Mapping[str, Array], *, engine: Engine = ...) -> dict[str, Array]: ...
    def run(self, inputs: Array | Mapping[str, Array], *, engine: Engine = "emulation") -> Array | dict[str, Array]:
        """Return the model's outputs for a batch of inputs ``(N, ...)``.

        Args:
            inputs: one array, or arrays under the model's input names; rounded to the input grid.
            engine: ``emulation`` is each backend's bit-exact software model, ``simulation`` the stitched RTL in
                Verilator, ``integer`` the executed integer form. All give the same bits.

        Returns:
            One array for one array where the model has one output, else a dictionary.

        Raises:
            InvalidInput: for wrong names, shapes, or values that are not finite.
        """
        context = self._context
        if engine not in ENGINES:
            raise InvalidInput(f"run: engine is {engine!r}; expected {', '.join(ENGINES)}.")
        on_grid, _ = bring_on_grid(self._by_name(inputs), context.grids)
        outputs = finish(context, self._integers(context.encode_inputs(on_grid), engine))
        if isinstance(inputs, Mapping) or len(outputs) != 1:
            return outputs
        return next(iter(outputs.values()))

    def _by_name(self, inputs: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Return the inputs under the cleaned model's names; they may be said as in the source, too."""
        spoken = self._context.results["clean"]["inputs"]
        by_name = {synonym: synonyms[0] for synonyms in spoken for synonym in synonyms}
        listed = spoken_list(spoken)
        if not isinstance(inputs, Mapping):
            if len(spoken) != 1:
                raise InvalidInput(f"run: found one array; expected a mapping with the inputs {listed}.")
            inputs = {spoken[0][0]: inputs}
        found = {by_name[name]: np.asarray(array) for name, array in inputs.items() if name in by_name}
        if len(found) != len(inputs) or len(found) != len(spoken):
            raise InvalidInput(f"run: found inputs {', '.join(inputs) or 'none'}; expected {listed}.")
        for value in self._context.cleaned.graph.inputs:
            shape, frame = found[value.name or ""].shape, frame_shape(value)
            if shape[1:] != frame or not shape:
                raise InvalidInput(f"run: input {value.name} has shape {shape}; expected {('N', *frame)}. Reshape it.")
        return found

    def _work(self, name: str) -> Path:
        """Return a directory to compile in: in the build's folder, or a temporary one where that is read-only."""
        work = self._context.output / RUN / name
        try:
            work.mkdir(parents=True, exist_ok=True)
        except OSError:
            work = self._temporary / name
            work.mkdir(exist_ok=True)
        return work if os.access(work, os.W_OK) else self._temporary

    @cached_property
    def _temporary(self) -> Path:
        temporary = tempfile.TemporaryDirectory(prefix="qonnx-run-")
        self._kept = temporary  # removed with this object
        return Path(temporary.name)

    def _integers(self, values: dict[str, Integers], engine: Engine) -> dict[str, Integers]:
        context = self._context
        if engine == "simulation":
            return self._simulate(values)
        for part in context.parts:
            given = context.part_inputs(values, part)
            found = context.forms[part.name].run(given) if engine == "integer" else self._runner(part.name).run(given)
            values.update(context.part_outputs(found, part))
        return values

    def _runner(self, name: str) -> Runner:
        if name not in self._runners:
            context = self._context
            part = next(part for part in context.parts if part.name == name)
            self._runners[name] = context.backends[part.backend].emulate(context.designs[name], self._work(name))
        return self._runners[name]

    def _simulate(self, values: dict[str, Integers]) -> dict[str, Integers]:
        from qonnx_core.eda.simulate import Simulator

        if "stitch" not in self._context.results:
            raise InvalidInput(
                f"{self._context.output}: the build stopped before its parts were stitched; the simulation needs that. "
                "Run `qonnx build` to the step stitch, or use the emulation."
            )
        manifest = self._context.stitched.manifest
        found = Simulator.build(self._context.stitched, self._work("stitched")).run(
            {s.prefix: values[s.tensor].reshape(-1, *s.shape[1:]) for s in manifest.inputs}
        )
        return {s.tensor: found.outputs[s.prefix] for s in manifest.outputs}


def load(output: str | Path) -> FinishedBuild:
    """Return a finished build, ready to run; the folder may have been moved.

    Raises:
        InvalidInput: when the folder holds no build, or one that was stopped before its hardware was written.
    """
    from qonnx_core.build.build import STEPS
    from qonnx_core.build.context import FOLDING, RULES, Context
    from qonnx_core.build.runner import directory_name

    folder = Path(output).absolute()
    try:
        config = BuildConfig.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{folder}: found no build (no readable {CONFIG}); expected the --output of one. "
            f"Make one with `qonnx build MODEL -o {folder}`."
        ) from error
    names = {step.name: directory_name(number, step) for number, step in enumerate(STEPS)}
    moved: dict[str, Any] = {"output": folder}
    for option, copy in (("rules", folder / names["partition"] / RULES), ("folding", folder / names["plan"] / FOLDING)):
        if getattr(config, option) is not None:
            moved[option] = copy
    context = Context(config.model_copy(update=moved))
    for name, directory in names.items():
        record = read_record(folder / directory)
        if not record:
            break
        context.results[name], context.seconds[name] = record["result"], record["seconds"]
    if "emit" not in context.results:
        raise InvalidInput(f"{folder}: the build stopped before its hardware was written; run `qonnx build` again.")
    return FinishedBuild(context)
