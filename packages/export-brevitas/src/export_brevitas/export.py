"""Writes a Brevitas model as a QONNX model, and checks that the two compute the same."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx_ir as ir
from torch import nn

from export_brevitas.capture import Program, capture
from export_brevitas.finishing import finish
from export_brevitas.handlers import Handlers, require_supported
from export_brevitas.lowering import lower
from export_brevitas.signature import ExampleCall
from export_brevitas.state import evaluating
from export_brevitas.verification import attach_check, verify_call
from qonnx_core.errors import InvalidInput

logger = logging.getLogger(__name__)

DEFAULT_OPSET = 18


def export_qonnx(
    model: nn.Module,
    args: Any,
    path: str | Path | None = None,
    *,
    export_path: str | Path | None = None,
    kwargs: Mapping[str, Any] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    opset_version: int = DEFAULT_OPSET,
    dynamic_batch: bool = True,
    bake_weights: bool = False,
    verify: bool = True,
    verify_inputs: Any = None,
) -> ir.Model:
    """Return the QONNX model that computes what ``model`` computes in evaluation mode, written to ``path`` if given.

    The model is left as it was found: mode, weights, quantizers and their caches, whether the export succeeds or fails.
    The same model gives the same bytes.

    Args:
        model: a module with Brevitas layers; plain torch layers may stand between them.
        args: an example input: a float32 tensor, or a tuple of the arguments of ``model.forward``.
        path: the file to write; nothing is written where verifying fails.
        export_path: another name of ``path``.
        kwargs: keyword arguments of ``model.forward``; tensors among them become inputs too.
        input_names: names of the graph's inputs; default: the names of forward()'s parameters.
        output_names: names of the graph's outputs; default: ``output``, or numbered, or the keys of a dictionary.
        opset_version: the version of the standard operators, 18 by default. An older one is possible where no operator
            of the graph has changed since.
        dynamic_batch: let the first dimension of the inputs be any number (called ``batch``).
        bake_weights: write weights as quantized values in place of the trained float values.
        verify: run the written graph against the model, see ``verification``.
        verify_inputs: inputs to verify on: an array or tensor with any batch size, or a sequence or dictionary of
            them, one for each input; default: the example and a seeded random sample. The example is always included.

    Returns:
        The model; `check_of` returns the result of verifying it.

    Raises:
        Unsupported: a layer or quantizer has no exact counterpart; lists each with its path, class and a way out.
        InvalidInput: the arguments do not fit the model.
        Mismatch: the graph does not compute what the model computes; names the first layer that differs.
    """
    target = _target(path, export_path)
    require_supported(model)
    call = ExampleCall.of(model, args, kwargs)
    program = _traced(model, call, bake_weights=bake_weights, dynamic_batch=dynamic_batch)
    made = lower(program, opset_version=opset_version)
    finish(
        made,
        input_names=call.names if input_names is None else input_names,
        output_names=_output_names(program) if output_names is None else output_names,
        opset_version=opset_version,
        graph_name=type(model).__name__,
        metadata=_provenance(model),
    )
    made.producer_version = version("export-brevitas")
    if verify:
        check = verify_call(model, made, call, verify_inputs)
        attach_check(made, check)
        logger.info("%s: %s", type(model).__name__, check)
    if target is not None:
        _save(made, target)
    return made


def _target(path: str | Path | None, export_path: str | Path | None) -> Path | None:
    if path is not None and export_path is not None:
        raise InvalidInput(
            f"path is {path} and export_path is {export_path}; expected one of them. They mean the same."
        )
    given = path if path is not None else export_path
    if given is None:
        return None
    target = Path(given)
    if target.suffix != ".onnx":
        raise InvalidInput(f"path is {target}; expected a file name that ends in .onnx. Try {target.name}.onnx.")
    if not target.parent.is_dir():
        raise InvalidInput(f"path is {target}: its folder does not exist; expected one to write to. Create it first.")
    return target


def _traced(model: nn.Module, call: ExampleCall, *, bake_weights: bool, dynamic_batch: bool) -> Program:
    with evaluating(model):
        handlers = Handlers(model, bake_weights=bake_weights)
        example = call.with_batch_of_two() if dynamic_batch else call
        return capture(model, example, handlers, dynamic_batch=dynamic_batch)


def _output_names(program: Program) -> list[str]:
    if len(program.output_names) == 1:
        return [program.output_names[0] if _is_word(program.output_names[0]) else "output"]
    return [name if _is_word(name) else f"output_{name}" for name in program.output_names]


def _is_word(name: str) -> bool:
    return bool(name) and not name[0].isdigit()


def _provenance(model: nn.Module) -> dict[str, str]:
    versions = {f"{name}_version": version(name) for name in ("brevitas", "torch")}
    return {"source": "brevitas", "model_class": type(model).__qualname__, **versions}


def _save(model: ir.Model, path: Path) -> None:
    import qonnx_core

    qonnx_core.save(model, path)
