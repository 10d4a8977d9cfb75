"""Turns a page as it is written into the page that is shown: facts from the code in, examples run, outputs shown.

MkDocs calls the functions ``on_...`` (``hooks`` in mkdocs.yml). Tests call :func:`pages` and :func:`shown`, which
need no MkDocs. A comment in a page stands for what a generator writes::

    <!-- operator: Quant -->         the facts of an operator (docs_operators.py)
    <!-- operators -->               the table of all operators
    <!-- rounding modes -->          the table of what they do
    <!-- float types -->             the table of the minifloats of ONNX
    <!-- pass: fold_constants -->    the section of a pass (docs_passes.py)
    <!-- passes -->                  the table of all passes
    <!-- commands -->                the sections of all subcommands (docs_commands.py)
    <!-- source: examples/x.py -->   a file of the repository as a code block

Operators and passes that no page names get a page of their own, so that a new one is there without further ado. The
README of each package is a page too.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))

from docs_api import api_pages  # noqa: E402
from docs_blocks import with_outputs  # noqa: E402
from docs_commands import command_sections  # noqa: E402
from docs_models import put_files  # noqa: E402
from docs_operators import float_table, operator_facts, operator_index, operator_pages, rounding_table  # noqa: E402
from docs_passes import our_passes, pass_index, pass_section, passes_named  # noqa: E402
from docs_text import code_block  # noqa: E402

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "passes" / "examples"
FRAGMENTS = DOCS / "commands"
_DIRECTIVE = re.compile(
    r"<!-- (operator|operators|rounding modes|float types|pass|passes|commands|source)(?:: (.*?))? -->"
)
_OPERATOR = re.compile(r"<!-- operator: (\w+)")
_OTHER_PASSES = "passes/other.md"
_READMES = "packages/"
_ROLE = re.compile(r":\w+:(<code>)")


def pages() -> dict[str, str]:
    """Return every page as it is written, by its path in the site: those of docs/, then the generated ones."""
    hidden = (EXAMPLES, FRAGMENTS)
    found = {
        path.relative_to(DOCS).as_posix(): path.read_text("utf-8")
        for path in sorted(DOCS.rglob("*.md"))
        if not any(path.is_relative_to(folder) for folder in hidden)
    }
    return found | generated(found)


def generated(written: Mapping[str, str]) -> dict[str, str]:
    """Return the pages that nobody wrote: operators and passes that no page names, and the Python API."""
    made = {}
    named = {name for page in written.values() for name in _OPERATOR.findall(page)}
    for name, ops in operator_pages().items():
        if name not in named and ops[0].__module__.startswith("qonnx_core."):
            made[f"operators/{name}.md"] = f"# {ops[0].op_type}\n\n<!-- operator: {name} -->\n"
    shown_passes = {name for page in written.values() for name in passes_named(page)}
    rest = [name for name in our_passes() if name not in shown_passes]
    if rest:
        sections = "\n\n".join(f"<!-- pass: {name} -->" for name in rest)
        made[_OTHER_PASSES] = f"# Other passes\n\n{sections}\n"
    for name, (_, text) in api_pages(ROOT).items():
        made[f"api/{name}"] = text
    for readme in sorted((ROOT / "packages").glob("*/README.md")):
        # Its programs need frameworks and are run by test_readmes.py.
        made[f"{_READMES}{readme.parent.name}.md"] = readme.read_text("utf-8").replace("](../../docs/", "](../")
    return made


def expanded(path: str, page: str, all_pages: Mapping[str, str]) -> str:
    """Return a page with what its comments stand for."""

    def write(match: re.Match[str]) -> str:
        kind, value = match.groups()
        match kind:
            case "operator":
                return operator_facts(value)
            case "operators":
                homes = {
                    n: p.removeprefix("operators/") for p, text in all_pages.items() for n in _OPERATOR.findall(text)
                }
                return operator_index((name, homes[name]) for name in operator_pages() if name in homes)
            case "rounding modes":
                return rounding_table()
            case "float types":
                return float_table()
            case "pass":
                return pass_section(value, EXAMPLES)
            case "passes":
                homes = {n: p.removeprefix("passes/") for p, text in all_pages.items() for n in passes_named(text)}
                return pass_index(homes)
            case "source":
                return code_block((ROOT / value).read_text("utf-8"), "python")
            case _:
                return command_sections(FRAGMENTS)

    return _DIRECTIVE.sub(write, page)


def shown(path: str, page: str, all_pages: Mapping[str, str]) -> str:
    """Return a page as it is shown: comments filled in, its code blocks run in a folder with the files it names.

    Raises:
        BlockFailed: a code block does not do what the page says.
    """
    text = expanded(path, page, all_pages)
    if path.startswith(_READMES):
        return text
    with tempfile.TemporaryDirectory() as folder:
        put_files(text, Path(folder))
        return with_outputs(text, Path(folder), path)


def _titles(paths: Mapping[str, str], folder: str) -> list[dict[str, str]]:
    """Return the entries of a folder for the navigation: the index first, then by title."""
    entries = []
    for path, text in paths.items():
        if path.startswith(f"{folder}/"):
            heading = re.search(r"^# (.+)$", text, re.M)
            entries.append((not path.endswith("/index.md"), heading[1] if heading else path, path))
    return [{title: path} for _, title, path in sorted(entries, key=lambda entry: (entry[0], entry[1].lower()))]


_all: dict[str, str] = {}


def on_config(config: Any) -> Any:
    """Put the pages of a folder where the navigation has ``title: folder/``."""
    _all.clear()
    _all.update(pages())

    def filled(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {title: filled(value) for title, value in entry.items()}
        if isinstance(entry, list):
            return [filled(value) for value in entry]
        return _titles(_all, entry.rstrip("/")) if isinstance(entry, str) and entry.endswith("/") else entry

    config.nav = filled(config.nav)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    on_disk = {file.src_uri for file in files}
    for path, text in _all.items():
        if path not in on_disk:
            files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page with its comments filled in and its examples run."""
    return shown(page.file.src_uri, markdown, _all)


def on_page_content(html: str, **_: Any) -> str:
    """Return the page without the roles of docstrings."""
    return _ROLE.sub(r"\1", html)
