"""The host's side of a build: float pre- and post-processing around the hardware, and running a finished build.

``host/pre.onnx`` turns the model's float inputs into the integers on the wire, ``host/post.onnx`` turns the integers
that leave the hardware into the model's outputs: dequantization, then the model's own float tail (a final scale, bias,
softmax). Both run in stock onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
import numpy.typing as npt

from qonnx_core.build.config import BuildConfig
from qonnx_core.build.inputs import bring_on_grid
from qonnx_core.build.runner import read_record
from qonnx_core.errors import InvalidInput

if TYPE_CHECKING:
    from qonnx_core.backend import Runner
    from qonnx_core.build.context import Context

Engine = Literal["emulation", "simulation", "integer"]
Array = npt.NDArray[np.generic]
Integers = npt.NDArray[np.int64]

PRE, POST = "pre.onnx", "post.onnx"


def finish(context: Context, integers: Mapping[str, Integers]) -> dict[str, Array]:
    """Return the model's outputs from the integers that left the hardware, both under the model's tensor names."""
    from qonnx_core import compile_model

    values: dict[str, Array] = {}
    for part in context.parts:
        form = context.forms[part.name]
        if not all(port.tensor in integers for port in form.outputs):
            continue
        given = {port.name: integers[port.tensor].reshape(-1, *port.shape[1:]) for port in form.outputs}
        values.update(form.finish(given))
    tail = context.partitioned.tail
    if tail is not None:
        names = [value.name or "" for value in tail.graph.inputs]
        values.update(compile_model(tail).run({name: values[name] for name in names}))
    return {value.name or "": values[value.name or ""] for value in context.model.graph.outputs}


def write_host_models(context: Context, host: Path) -> None:
    """Write `pre.onnx` and `post.onnx`: what the host computes before and after the hardware."""
    from qonnx_core import save
    from qonnx_core.build.link import link_models

    cut = context.partitioned
    head = [cut.head] if cut.head is not None else []
    tail = [cut.tail] if cut.tail is not None else []
    made_by_parts = {name for part in context.parts for name in part.outputs}
    wanted = {*cut.outputs, *(value.name or "" for model in tail for value in model.graph.inputs)}
    before = [context.forms[part.name].pre for part in context.parts if not made_by_parts & set(part.inputs)]
    behind = [context.forms[part.name].post for part in context.parts if wanted & set(part.outputs)]
    save(link_models([*head, *before], "host_pre"), host / PRE, with_functions=True)
    save(link_models([*behind, *tail], "host_post"), host / POST, with_functions=True)


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
        names = list(context.grids)
        if not isinstance(inputs, Mapping):
            if len(names) != 1:
                raise InvalidInput(f"run: found one array; expected a mapping with the inputs {', '.join(names)}.")
            inputs_by_name: Mapping[str, Array] = {names[0]: inputs}
        else:
            inputs_by_name = inputs
        if set(inputs_by_name) != set(names):
            raise InvalidInput(f"run: found inputs {', '.join(inputs_by_name)}; expected {', '.join(names)}.")
        on_grid, _ = bring_on_grid({name: np.asarray(inputs_by_name[name]) for name in names}, context.grids)
        outputs = finish(context, self._integers(context.encode_inputs(on_grid), engine))
        if isinstance(inputs, Mapping) or len(outputs) != 1:
            return outputs
        return next(iter(outputs.values()))

    def _integers(self, values: dict[str, Integers], engine: Engine) -> dict[str, Integers]:
        context = self._context
        if engine == "simulation":
            return self._simulate(values)
        if engine not in ("emulation", "integer"):
            raise InvalidInput(f"run: engine is {engine!r}; expected emulation, simulation or integer.")
        for part in context.parts:
            given = context.part_inputs(values, part)
            found = context.forms[part.name].run(given) if engine == "integer" else self._runner(part.name).run(given)
            values.update(context.part_outputs(found, part))
        return values

    def _runner(self, name: str) -> Runner:
        if name not in self._runners:
            context = self._context
            part = next(part for part in context.parts if part.name == name)
            work = context.output / "run" / name
            work.mkdir(parents=True, exist_ok=True)
            self._runners[name] = context.backends[part.backend].emulate(context.designs[name], work)
        return self._runners[name]

    def _simulate(self, values: dict[str, Integers]) -> dict[str, Integers]:
        from qonnx_core.eda.simulate import Simulator

        manifest = self._context.stitched.manifest
        work = self._context.output / "run" / "stitched"
        work.mkdir(parents=True, exist_ok=True)
        found = Simulator.build(self._context.stitched, work).run(
            {s.prefix: values[s.tensor].reshape(-1, *s.shape[1:]) for s in manifest.inputs}
        )
        return {s.tensor: found.outputs[s.prefix] for s in manifest.outputs}


def load(output: str | Path) -> FinishedBuild:
    """Return a finished build, ready to run.

    Raises:
        InvalidInput: when the folder holds no build, or one that was stopped before its hardware was written.
    """
    from qonnx_core.build.build import CONFIG, STEPS
    from qonnx_core.build.context import Context

    folder = Path(output)
    try:
        config = BuildConfig.model_validate_json((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{folder}: no build is here ({error}); make one with `qonnx build MODEL -o {folder}`."
        ) from error
    context = Context(config.model_copy(update={"output": folder}))
    for number, step in enumerate(STEPS):
        record = read_record(folder / f"{number:02d}_{step.name}")
        if record:
            context.results[step.name], context.seconds[step.name] = record["result"], record["seconds"]
    if "emit" not in context.results:
        raise InvalidInput(f"{folder}: the build stopped before its hardware was written; run `qonnx build` again.")
    return FinishedBuild(context)
