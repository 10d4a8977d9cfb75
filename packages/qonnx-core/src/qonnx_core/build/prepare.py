"""The steps from a source to partitions in integer form: load, clean, samples, partition, integer form."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qonnx_core.build.config import require_file
from qonnx_core.build.context import CLEANED, HOST, RULES, SAMPLES
from qonnx_core.build.folder import make_directory
from qonnx_core.build.inputs import (
    DEFAULT_SAMPLES,
    INPUT_ALIASES,
    LABELS,
    OUTPUT_ALIASES,
    Array,
    bring_on_grid,
    class_labels,
    input_grids,
    input_names,
    numbers,
    output_names,
    pick,
    read_archive,
    seeded_sample,
    write_archive,
)
from qonnx_core.errors import InvalidInput, InvalidModel

if TYPE_CHECKING:
    import onnx_ir as ir

    from qonnx_core.build.context import Context
    from qonnx_core.verify import Check


def read_source(path: Path) -> ir.Model:
    """Return the QONNX model of a file: read as it is, or through the frontend that recognizes it.

    Raises:
        InvalidInput: when nothing here reads the file; says which frontends are installed.
    """
    from qonnx_core import load, plugins

    require_file(path, "a QONNX model (.onnx), or a saved model that an installed frontend reads")
    if path.suffix.lower() == ".onnx":
        model = load(path)
        if not model.graph.outputs:
            raise InvalidModel(f"{path}: the graph has no outputs; expected at least one. Export the model again.")
        return model
    frontends = plugins.frontends()
    for frontend in frontends.values():
        if frontend.recognizes(path):
            read: ir.Model = frontend.read(path)
            return read
    raise InvalidInput(
        f"{path}: it is no .onnx file, and no installed frontend recognizes it (installed: "
        f"{', '.join(sorted(frontends)) or 'none'}). For QKeras models install ingest-qkeras; "
        "export Brevitas models from Python with export_brevitas.export_qonnx."
    )


def run_load(context: Context, directory: Path) -> dict[str, Any]:
    """Read the source, through a frontend where it is no ONNX file."""
    from qonnx_core import save

    model = read_source(context.config.source)
    save(model, directory / CLEANED)
    operators: dict[str, int] = {}
    for node in model.graph:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    return {"nodes": len(model.graph), "operators": dict(sorted(operators.items()))}


def run_clean(context: Context, directory: Path) -> dict[str, Any]:
    """Clean the model up: shapes, folded constants, readable names."""
    from qonnx_core import cleanup_model, load, save
    from qonnx_core.formats.from_qcdq import REMARK, has_qcdq

    original = load(context.directory("load") / CLEANED)
    if has_qcdq(original):
        context.say(REMARK)
    cleaned = cleanup_model(original)
    save(cleaned, directory / CLEANED)
    return {
        "nodes": len(cleaned.graph),
        "inputs": input_names(original, cleaned),
        "outputs": output_names(original, cleaned),
    }


def run_samples(context: Context, directory: Path) -> dict[str, Any]:
    """Read or make the samples, bring them onto the input grid, and compare the model before and after clean-up."""
    from qonnx_core import compile_model, load
    from qonnx_core.verify import compare_outputs

    config = context.config
    cleaned = context.cleaned
    original = load(context.directory("load") / CLEANED)
    inputs_spoken, outputs_spoken = context.results["clean"]["inputs"], context.results["clean"]["outputs"]
    arrays = read_archive(config.data) if config.data else None
    raw: dict[str, Array] | None = None
    expected: dict[str, Array] = {}
    labels = None
    if arrays is not None:
        raw = pick(arrays, inputs_spoken, INPUT_ALIASES, "input", str(config.data))
        expected = pick(arrays, outputs_spoken, OUTPUT_ALIASES, "output", str(config.data))
        labels = arrays.get(LABELS)
        for name, array in (*raw.items(), *expected.items()):
            if not array.ndim:
                raise InvalidInput(f"{config.data}: {name} is a single number; expected one entry for each sample.")
        if labels is not None:
            labels = class_labels(labels, len(next(iter(raw.values()))))[: config.samples]
        raw, expected = ({name: array[: config.samples] for name, array in group.items()} for group in (raw, expected))
    grids = input_grids(cleaned, inputs_spoken, config.input_types, raw)
    if raw is None:
        count = config.samples or DEFAULT_SAMPLES
        raw = dict(seeded_sample(cleaned, grids, count, config.seed))
        origin = f"seeded sample of {count} that covers the input range (seed {config.seed}); give --data for your own"
        context.say(origin)
    else:
        origin = str(config.data)
    on, on_grid = bring_on_grid(raw, grids)
    floats = {name: numbers(f"input {name}", array) for name, array in raw.items()}
    checks = []
    if expected:
        checks.append(compare_outputs(cleaned, floats, expected, left="framework", right="QONNX"))
    before = compile_model(original).run({names[-1]: floats[names[0]] for names in inputs_spoken})
    renamed = {names[0]: before[names[-1]] for names in outputs_spoken}
    checks.append(compare_outputs(cleaned, floats, renamed, left="QONNX", right="cleaned QONNX"))
    outputs = compile_model(context.model).run(on)
    stored: dict[str, Array] = {f"in:{name}": array for name, array in on.items()}
    stored |= {f"out:{name}": array for name, array in outputs.items()}
    if labels is not None:
        stored[LABELS] = labels
    write_archive(directory / SAMPLES, stored)
    off_grid = int((~on_grid).sum())
    if off_grid:
        context.say(f"{off_grid} of {len(on_grid)} samples were off the input grid and have been rounded to it")
    result: dict[str, Any] = {
        "origin": origin,
        "samples": len(on_grid),
        "off_grid": off_grid,
        "grids": {name: str(grid) for name, grid in grids.items()},
        "checks": [check.to_dict() for check in checks],
    }
    if labels is not None:
        framework = expected or outputs
        result["accuracy_framework"] = accuracy(next(iter(framework.values())), stored[LABELS])
    context.require(checks)
    return result


def accuracy(outputs: Array, labels: Array) -> float:
    """Return the share of samples whose largest output (ties to the lowest index) or class index is the label."""
    flat = outputs.reshape(len(labels), -1)
    answers = flat[:, 0] if flat.shape[1] == 1 else flat.argmax(1)
    return float((answers.astype(np.int64) == labels).mean())


def run_partition(context: Context, directory: Path) -> dict[str, Any]:
    """Cut the cleaned model into parts, one backend each, and compare their composition with the whole."""
    from qonnx_core import save
    from qonnx_core.partition import compose
    from qonnx_core.verify import compare_outputs

    if context.config.rules is not None:
        shutil.copyfile(context.config.rules, directory / RULES)
    for model in context.partitioned.models:
        save(model, directory / f"{model.graph.name}.onnx")
    composed = compose(context.partitioned, context.samples.inputs)
    check = compare_outputs(
        context.model, context.samples.inputs, composed, left="cleaned QONNX", right="composed partitions"
    )
    context.require([check])
    return {
        "partitions": [
            {
                "name": part.name,
                "backend": part.backend,
                "nodes": list(part.nodes),
                "inputs": list(part.inputs),
                "outputs": list(part.outputs),
            }
            for part in context.parts
        ],
        "host_nodes": [*context.partitioned.pre_nodes, *context.partitioned.post_nodes],
        "checks": [check.to_dict()],
    }


def run_integer_form(context: Context, directory: Path) -> dict[str, Any]:
    """Bring each part to integer form and compare it, tensor by tensor, with the QONNX model."""
    from qonnx_core import compile_model, save
    from qonnx_core.build.host import write_host_models
    from qonnx_core.verify import compare_integer_form

    checks: list[Check] = []
    streams: dict[str, Any] = {}
    crossing = {value.name or "" for part in context.parts for value in part.model.graph.inputs} - set(context.grids)
    values: dict[str, Array] = dict(context.samples.inputs)
    values.update(compile_model(context.model).run(context.samples.inputs, intermediates=sorted(crossing)))
    for part in context.parts:
        form = context.forms[part.name]
        save(form.model, directory / f"{part.name}.onnx")
        given = {port.tensor: np.asarray(values[port.tensor]) for port in form.inputs}
        checks.append(
            compare_integer_form(part.model, form, given, left=f"{part.name} QONNX", right=f"{part.name} integer form")
        )
        for port in (*form.inputs, *form.outputs):
            streams[port.tensor] = {"grid": str(port.grid), "shape": list(port.shape)}
    context.require(checks)
    make_directory(context.output / HOST, lambda host: write_host_models(context, host))
    return {"streams": streams, "checks": [check.to_dict() for check in checks]}
