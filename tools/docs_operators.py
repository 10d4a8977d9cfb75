"""Writes the facts of an operator's page from its class: definition, inputs, attributes, data type, ONNX function."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx.printer
import onnx_ir as ir

from docs_text import cell, code_block, docstring, table
from qonnx_core.formats.functions import op_function
from qonnx_core.formats.qcdq_floats import FLOAT_TYPES
from qonnx_core.ops.builder import FunctionBuilder
from qonnx_core.ops.float_quant import FloatQuant
from qonnx_core.ops.op import QonnxOp
from qonnx_core.ops.registry import DOMAIN_ALIASES, default_registry
from qonnx_core.ops.rounding import Rounding, round_by

_TYPES = {"bool": "INT, 0 or 1", "int": "INT", "float": "FLOAT", "tuple[int, ...]": "INTS", "str": "STRING"}


def operator_pages() -> dict[str, list[type[QonnxOp]]]:
    """Return the operators that share a page, by the class name of the newest: versions of one, and other names."""
    pages: dict[str, list[type[QonnxOp]]] = {}
    homes: dict[tuple[str, str], str] = {}
    for op in sorted(default_registry(), key=lambda op: (_is_alias(op), -op.since_version)):
        parent: Any = op.__mro__[1]
        own = (op.domain, op.op_type)
        key = homes.get((parent.domain, parent.op_type)) if _is_alias(op) else homes.get(own)
        if key is None:
            key = op.__name__
            homes[own] = key
        pages.setdefault(key, []).append(op)
    order = [op.__name__ for op in default_registry()]
    return dict(sorted(pages.items(), key=lambda page: order.index(page[0])))


def _is_alias(op: type[QonnxOp]) -> bool:
    """Return whether this is a second name: a subclass of an operator, of another op type, that adds nothing."""
    parent = op.__mro__[1]
    named = getattr(parent, "op_type", None)
    return named is not None and named != op.op_type and "body" not in op.__dict__


def operator_facts(directive: str) -> str:
    """Return the Markdown of ``Name`` or ``Name(attribute=value, ...)``, the values being those of the function shown.

    Raises:
        KeyError: there is no such page.
    """
    name, values = _call(directive)
    ops = operator_pages()[name]
    newest = ops[0]
    versions = [op for op in ops if op.op_type == newest.op_type]
    names = [op.op_type for op in ops if op.op_type != newest.op_type]
    lines = [_where(newest, names), ""]
    if len(versions) == 1:
        return "\n".join([*lines, *_facts(newest, values, "##")])
    for op in versions:
        lines += [f"## Version {op.since_version}", "", *_facts(op, values, "###")]
    return "\n".join(lines)


def rounding_table() -> str:
    """Return the table of what each rounding mode makes of some numbers."""
    numbers = (-2.5, -1.5, -1.2, -0.5, 0.5, 1.2, 1.5, 2.5)
    rows = []
    for mode in Rounding:
        # A builder folds what it knows: with an array in, an array comes out.
        rounded = np.asarray(round_by(FunctionBuilder(), mode, np.asarray(numbers)))
        rows.append([f"`{mode}`", *(f"{value + 0.0:g}" for value in rounded)])
    return table(["mode", *(f"{number:g}" for number in numbers)], rows)


def float_table() -> str:
    """Return the table of the minifloat types that ONNX has, as inputs of FloatQuant."""
    rows = []
    for kind in FLOAT_TYPES:
        numbers = [f"{number:g}" for number in kind.parameters]
        flags = [str(int(flag)) for flag in (kind.has_inf, kind.has_nan)]
        rows.append([f"`{kind.dtype.name}`", *numbers, *flags, str(kind.opset)])
    names = [f"`{name}`" for name in (*FloatQuant.inputs[2:], "has_inf", "has_nan")]
    return table(["element type of ONNX", *names, "from opset"], rows)


def _where(op: type[QonnxOp], names: list[str]) -> str:
    aliases = [f"`{alias}`" for alias, domain in DOMAIN_ALIASES.items() if domain == op.domain]
    rows = [["operator", f"`{op.op_type}`" + "".join(f", also written `{name}`" for name in names)]]
    rows.append(["domain", f"`{op.domain}`" + (f"; older files: {', '.join(aliases)}" if aliases else "")])
    rows.append(["class", f"`{op.__module__}.{op.__qualname__}`"])
    return table(["", ""], rows)


def _facts(op: type[QonnxOp], values: Mapping[str, Any], heading: str) -> list[str]:
    lines = [f"{heading} Definition", "", docstring(op), ""]
    lines += [f"{heading} Inputs and output", "", _inputs(op), ""]
    lines += [f"{heading} Attributes", "", _attributes(op), ""]
    lines += [f"{heading} Data type", "", _datatype(op), ""]
    return [*lines, f"{heading} The ONNX function", "", *_function(op, values)]


def _inputs(op: type[QonnxOp]) -> str:
    fewest = len(op.inputs) - op.num_optional
    rows = [
        [str(number), f"`{name}`" + ("" if number < fewest else " (optional)"), cell(op.about.get(name, ""))]
        for number, name in enumerate(op.inputs)
    ]
    rows.append(["output", f"`{op.output}`", "the result, in the element type of the data"])
    broadcast = "All inputs broadcast against each other." if op.broadcasts and len(op.inputs) > 1 else ""
    return table(["", "name", "meaning"], rows) + (f"\n\n{broadcast}" if broadcast else "")


def _attributes(op: type[QonnxOp]) -> str:
    rows = []
    for field in dataclasses.fields(op):
        kind = str(field.type)
        if field.default is dataclasses.MISSING:
            default = "required"
        elif field.default == ():
            default = "left out"
        else:
            value = int(field.default) if isinstance(field.default, bool) else field.default
            default = "empty" if value == "" else f"`{value}`"
        values = _TYPES.get(kind, kind)
        if kind == "Rounding":
            values = "STRING: " + ", ".join(f"`{mode}`" for mode in Rounding)
        rows.append([f"`{field.name}`", values, default, cell(op.about.get(field.name, ""))])
    return table(["name", "type and values", "default", "meaning"], rows) if rows else "None."


def _datatype(op: type[QonnxOp]) -> str:
    rules = []
    if op.datatype is not QonnxOp.datatype:
        rules.append(_stated(docstring(op.datatype)))
    if op.keeps_datatype is not QonnxOp.keeps_datatype:
        rules.append(_keeps(docstring(op.keeps_datatype)))
    return (
        "\n\n".join(rules)
        or "Nothing follows from the operator alone; the pass `infer_datatypes` follows the values through it."
    )


def _stated(text: str) -> str:
    """Return "The type" for "Return the type"."""
    text = text.removeprefix("Return ")
    return text[:1].upper() + text[1:]


def _keeps(text: str) -> str:
    """Return the sentence for "Return True: why" or "Return whether ..."."""
    head, separator, reason = text.partition("True: ")
    if separator and head == "Return ":
        return f"The output has the type of the data: {reason}"
    return f"The output has the type of the data if {text.removeprefix('Return whether ')}"


def _function(op: type[QonnxOp], values: Mapping[str, Any]) -> list[str]:
    known = {field.name for field in dataclasses.fields(op)}
    try:
        made = op(**{name: value for name, value in values.items() if name in known})
    except TypeError:  # an attribute without default, and the page does not say which value to show
        return ["Its body depends on required attributes; `qonnx convert --to functions` shows it for a model."]
    setting = ", ".join(
        f"`{name}={value or 'empty'}`" if isinstance(value, str) else f"`{name}={value}`"
        for name, value in made.variant()
    )
    function = op_function(op, (made,))
    _forget_names(function)
    text = onnx.printer.to_text(ir.serde.serialize_function(function))
    said = f"Definition in ONNX for {setting}" if setting else "Definition in ONNX"
    return [f'??? abstract "{said.replace("`", "")}"', "", *(f"    {x}" for x in code_block(text, "text").splitlines())]


def _forget_names(function: ir.Function) -> None:
    """Drop the names of the nodes, which only make the text longer."""
    for node in function.graph.all_nodes():
        node.name = None


def _call(text: str) -> tuple[str, dict[str, Any]]:
    tree = ast.parse(text.strip(), mode="eval").body
    if isinstance(tree, ast.Call):
        return ast.unparse(tree.func), {word.arg or "": ast.literal_eval(word.value) for word in tree.keywords}
    return ast.unparse(tree), {}


def operator_index(pages: Iterable[tuple[str, str]]) -> str:
    """Return the table of all operators: ``pages`` are class names and the file names of their pages."""
    ops = operator_pages()
    rows = []
    for name, page in pages:
        first = inspect.getdoc(ops[name][0]) or ""
        versions = ", ".join(sorted({str(op.since_version) for op in ops[name]}, key=int))
        titles = " / ".join(dict.fromkeys(op.op_type for op in ops[name]))
        domain = ops[name][0].domain.rpartition(".")[2]
        rows.append([f"[{titles}]({page})", f"`{domain}`", versions, cell(first.split("\n\n")[0])])
    return table(["operator", "domain", "versions", "result"], rows)
