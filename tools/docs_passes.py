"""Writes the sections of passes from the catalog, with a graph before and after where there is an example.

An example is a model in the text form of ONNX, ``docs/passes/examples/NAME.txt``. Lines in front of it that start with
``#`` say with which arguments the pass is shown: ``# k=2,largest=1``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import onnx.parser
import onnx.printer
import onnx_ir as ir

from docs_text import cell, code_block, docstring, markdown, table
from qonnx_core.formats.reader import from_proto
from qonnx_core.passes.catalog import Entry, catalog, make_pass
from qonnx_core.passes.infer_shapes import InferShapes

_DIRECTIVE = re.compile(r"<!-- pass: (\w+) -->")
_HIDDEN = re.compile(r"^ *(ir_version|producer_name|producer_version): .*\n", re.M)


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
                "required" if argument.required else f"`{cell(repr(argument.default))}`",
                "" if argument.from_text else "from Python only",
            ]
            for argument in entry.arguments
        ]
        lines += [table(["argument", "type", "default", ""], rows), ""]
    example = examples / f"{name}.txt"
    if example.is_file():
        lines += _before_and_after(name, example.read_text("utf-8"))
    return "\n".join(lines)


def _before_and_after(name: str, text: str) -> list[str]:
    head = [line for line in text.splitlines() if line.startswith("#")]
    arguments = ",".join(line.removeprefix("#").strip() for line in head)
    model = from_proto(onnx.parser.parse_model("\n".join(x for x in text.splitlines() if not x.startswith("#"))))
    InferShapes().run(model)
    before = graph_text(model)
    edits = make_pass(f"{name}:{arguments}" if arguments else name).run(model)
    if edits == 0:
        raise ValueError(f"docs/passes/examples/{name}.txt: the pass finds nothing to do; expected an edit")
    said = f" with `{arguments}`" if arguments else ""
    return [
        f"Before{said}:", "", code_block(before, "text"), "",
        f"After ({edits} {'edit' if edits == 1 else 'edits'}):", "", code_block(graph_text(model), "text"), "",
    ]  # fmt: skip


def graph_text(model: ir.Model) -> str:
    """Return a model in the text form of ONNX, without versions and node names."""
    copy = model.clone()
    for node in copy.graph.all_nodes():
        node.name = None
    text: str = onnx.printer.to_text(ir.serde.serialize_model(copy))
    _, _, graph = text.partition(">\n")
    return graph.strip()


def pass_index(pages: Mapping[str, str]) -> str:
    """Return the table of all passes; ``pages`` gives the page of each."""
    rows = [
        [f"[{name}]({pages[name]}#{name})", cell(first_sentence(entry.factory))] for name, entry in our_passes().items()
    ]
    return table(["pass", "what equals what"], rows)


def first_sentence(factory: type) -> str:
    """Return the first paragraph of a class' docstring."""
    return markdown((inspect.getdoc(factory) or "").split("\n\n")[0])
