"""Writes the sections of passes from the catalog, with a graph before and after where there is an example.

An example is a model in the text form of ONNX, ``docs/passes/examples/NAME.txt``. Lines in front of it that start with
``#`` say with which arguments the pass is shown: ``# k=2,largest=1``.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx.helper
import onnx.parser
import onnx.printer
import onnx_ir as ir

from docs_text import cell, code_block, docstring, markdown, table
from qonnx_core.formats.reader import from_proto
from qonnx_core.ops.registry import op_class_of
from qonnx_core.passes.catalog import Entry, catalog, make_pass
from qonnx_core.passes.infer_shapes import InferShapes

_DIRECTIVE = re.compile(r"<!-- pass: (\w+) -->")


def our_passes() -> Mapping[str, Entry]:
    """Return the passes that come with this project; installed plug-ins are left out."""
    return {name: entry for name, entry in catalog().items() if not entry.plugin}


def passes_named(page: str) -> list[str]:
    """Return the passes that a page holds, in order."""
    return _DIRECTIVE.findall(page)


def pass_section(name: str, examples: Path) -> str:
    """Return the Markdown of one pass; ``examples`` is the folder of the models.

    Raises:
        KeyError: there is no such pass.
    """
    entry = our_passes()[name]
    lines = [f"### {name}", "", docstring(entry.factory), ""]
    lines += [f"Class `{entry.factory.__module__}.{entry.factory.__qualname__}`.", ""]
    if entry.arguments:
        rows = [
            [
                f"`{argument.name}`",
                f"`{cell(argument.type)}`",
                "required" if argument.required else f"`{cell(_default(argument.default))}`",
                "" if argument.from_text else "from Python only",
            ]
            for argument in entry.arguments
        ]
        lines += [table(["argument", "type", "default", ""], rows), ""]
    example = examples / f"{name}.txt"
    if example.is_file():
        lines += _before_and_after(name, example.read_text("utf-8"))
    return "\n".join(lines)


def _default(value: object) -> str:
    return repr(value.value if isinstance(value, enum.Enum) else value)


def _before_and_after(name: str, text: str) -> list[str]:
    head = [line for line in text.splitlines() if line.startswith("#")]
    arguments = ",".join(line.removeprefix("#").strip() for line in head)
    model = from_proto(onnx.parser.parse_model("\n".join(x for x in text.splitlines() if not x.startswith("#"))))
    shapes = name == InferShapes.name
    if not shapes:
        InferShapes().run(model)
    before, told = graph_text(model, shapes=shapes), _annotations(model)
    edits = make_pass(f"{name}:{arguments}" if arguments else name).run(model)
    if edits == 0:
        raise ValueError(f"docs/passes/examples/{name}.txt: the pass finds nothing to do; expected an edit")
    after = graph_text(model, shapes=shapes)
    said = f" with `{arguments}`" if arguments else ""
    lines = [f"Before{said}:", "", code_block(before, "text"), ""]
    if after != before:
        lines += [f"After ({edits} {'edit' if edits == 1 else 'edits'}):", "", code_block(after, "text"), ""]
    new = {key: entries for key, entries in _annotations(model).items() if told.get(key) != entries}
    if new:
        listed = "; ".join(
            f"`{key}`: {', '.join(f'{k} `{v}`' for k, v in entries.items())}" for key, entries in new.items()
        )
        lines += [f"Annotations after: {listed}.", ""]
    return lines


def _annotations(model: ir.Model) -> dict[str, dict[str, str]]:
    """Return the annotations of all tensors, by name."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph for value in node.outputs]
    return {
        value.name or "": dict(found) for value in values if (found := value.meta.get("quant_parameter_tensor_names"))
    }


def graph_text(model: ir.Model, *, shapes: bool = False) -> str:
    """Return a model in the text form of ONNX, without what is only noise on a page.

    Versions, node names, annotations and attributes of ours at their defaults are left out, and without ``shapes`` the
    types of inner tensors too.
    """
    proto = ir.serde.serialize_model(model)
    graph = proto.graph
    for node in graph.node:
        node.ClearField("name")
    for node, made in zip(model.graph, graph.node, strict=True):
        _drop_defaults(node, made, model)
    constants = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.value_info if shapes and value.name not in constants]
    del graph.value_info[:], graph.quantization_annotation[:]
    graph.value_info.extend(kept)
    text: str = onnx.printer.to_text(proto)
    _, _, text = text.partition(">\n")
    text = re.sub(r"\b(\w+): (?:ints?|floats?|string) = ", r"\1 = ", text).replace("=  {", "= {")
    return re.sub(r", (?=[a-z0-9]+(?:\[[\w,]*\])? [^=]+ = \{)", ",\n    ", text).strip()


def _drop_defaults(node: ir.Node, made: onnx.NodeProto, model: ir.Model) -> None:
    found = op_class_of(node, model.opset_imports)
    if found is None:
        return
    defaults = {field.name: field.default for field in dataclasses.fields(found)}
    for attribute in list(made.attribute):
        value = onnx.helper.get_attribute_value(attribute)
        text = value.decode() if isinstance(value, bytes) else value
        if defaults.get(attribute.name) == text:
            made.attribute.remove(attribute)


def pass_index(pages: Mapping[str, str]) -> str:
    """Return the table of all passes; ``pages`` gives the page of each."""
    rows = [
        [f"[{name}]({pages[name]}#{name})", cell(first_sentence(entry.factory))] for name, entry in our_passes().items()
    ]
    return table(["pass", "what equals what"], rows)


def first_sentence(factory: type) -> str:
    """Return the first paragraph of a class' docstring."""
    return markdown((inspect.getdoc(factory) or "").split("\n\n")[0])
