"""`qonnx doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import typer

from qonnx_core.cli.common import JsonOption, console, print_json, table

NAME = "doctor"
HELP = """Show which tools, packages and plug-ins are there, which are missing, and how to get them.

Exits with 4 when something is missing that a build needs."""


def command(json_output: JsonOption = False) -> None:
    """Check the installation."""
    from qonnx_core.cli.guard import EXIT_TOOL
    from qonnx_core.eda.doctor import check_installation

    found = check_installation()
    if json_output:
        print_json([check.to_dict() for check in found])
    else:
        rows = [
            (check.name, "yes" if check.found else ("MISSING" if check.required else "no"), check.version, check.hint)
            for check in found
        ]
        console().print(table("qonnx doctor", ("what", "found", "version", "how to get it"), rows))
    if any(check.required and not check.found for check in found):
        raise typer.Exit(EXIT_TOOL)
