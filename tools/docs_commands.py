"""Writes the command line's page by asking the application: every subcommand, its options, and an example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docs_text import cell, code_block, table


def commands() -> dict[str, Any]:
    """Return the subcommands by name, in the order of the help."""
    import typer.main

    from qonnx_core.cli.app import app

    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def command_sections(examples: Path) -> str:
    """Return the Markdown of all subcommands; ``examples`` is a folder with a page fragment ``NAME.md`` for each."""
    return "\n".join(command_section(name, examples) for name in commands())


def command_section(name: str, examples: Path) -> str:
    """Return the Markdown of one subcommand."""
    command = commands()[name]
    context = command.context_class(command, info_name=f"qonnx {name}")
    usage = " ".join(command.get_usage(context).removeprefix("Usage:").split())
    text, example = split_help(command.help or "")
    lines = [f"## qonnx {name}", "", text, "", code_block(usage, "text"), ""]
    records = [(param, *param.get_help_record(context)) for param in command.params if param.get_help_record(context)]
    rows = [
        [f"`{cell(_bare(names))}`" + _required(param), cell(_escaped(_without_required(about)))]
        for param, names, about in records
    ]
    lines += [table(["argument or option", "meaning"], rows), ""]
    fragment = examples / f"{name}.md"
    if fragment.is_file():
        lines += ["Example:", "", fragment.read_text("utf-8").strip(), ""]
    elif example:
        lines += ["Example:", "", "<!-- not run: the example of the help text -->", code_block(example, "sh"), ""]
    return "\n".join(lines)


def split_help(text: str) -> tuple[str, str]:
    """Return the help without its example, as Markdown, and the command of the example."""
    found = re.search(r"Examples:\n?\s*((?:qonnx .*(?:\n|$))+)", text) or re.search(
        r"Example: (qonnx .*?)(?: \([^)]*\)\.?)?(?=\n|$|\. )", text
    )
    example = "" if found is None else found[1].strip()
    body = text if found is None else text[: found.start()] + text[found.end() :].removeprefix(". ")
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", body.strip()):
        lines = paragraph.splitlines()
        if all(line.startswith("  ") for line in lines if line):
            paragraphs.append(code_block("\n".join(line[2:] for line in lines), "text"))
        else:
            paragraphs.append(_escaped(" ".join(line.strip() for line in lines)))
    return "\n\n".join(paragraphs), example


def _escaped(text: str) -> str:
    """Return a help text as Markdown in which ``NAME<8,3>`` is no tag; what stands in backticks stays."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        x if x.startswith("`") else x.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_") for x in parts
    )


def _bare(names: str) -> str:
    return names.replace(" <bool>", "")


def _required(param: Any) -> str:
    return " required" if param.required else ""


def _without_required(about: str) -> str:
    return about.replace("[required]", "").strip()
