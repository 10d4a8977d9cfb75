"""Writes the pages of the Python API: which modules there are; mkdocstrings writes what is in them."""

from __future__ import annotations

import ast
from pathlib import Path

from docs_text import table

PACKAGES = {
    "export_brevitas": "export-brevitas",
    "ingest_qkeras": "ingest-qkeras",
    "backend_finn": "backend-finn",
    "backend_hls4ml": "backend-hls4ml",
}
CORE = "qonnx_core"
_INTERNAL = (
    "cli",
    "streamline",
)  # the command line has its own page; of the integer form the package's names are public
_OPTIONS = "    options:\n      show_root_heading: true\n      heading_level: {level}\n"


def api_pages(root: Path) -> dict[str, tuple[str, str]]:
    """Return ``{file name: (title, Markdown)}`` for the folder ``api``: first the core, part by part."""
    home = root / "packages" / "qonnx-core" / "src" / CORE
    top = sorted(path.stem for path in home.glob("*.py") if not path.stem.startswith("_"))
    init = home / "__init__.py"
    pages = {"qonnx_core.md": (CORE, _page(CORE, _public_table(init), [f"{CORE}.{name}" for name in top], _doc(init)))}
    for folder in sorted(path for path in home.iterdir() if (path / "__init__.py").is_file()):
        if folder.name in _INTERNAL:
            continue
        modules = [f"{CORE}.{folder.name}.{name}" for name in _modules(folder)]
        title = f"{CORE}.{folder.name}"
        if modules:
            pages[f"{title}.md"] = (title, _page(title, "", modules, _doc(folder / "__init__.py")))
    for name, distribution in PACKAGES.items():
        init = root / "packages" / distribution / "src" / name / "__init__.py"
        members = public_names(init)
        pages[f"{name}.md"] = (name, _package(name, members, _doc(init)))
    return pages


def _modules(folder: Path) -> list[str]:
    """Return the modules of a package, those of its public subpackages after it."""
    found = [path.stem for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]
    for inner in sorted(path for path in folder.iterdir() if (path / "__init__.py").is_file()):
        found += (
            [inner.name] if inner.name in _INTERNAL else [inner.name, *(f"{inner.name}.{x}" for x in _modules(inner))]
        )
    return found


def _doc(init: Path) -> str:
    return (ast.get_docstring(ast.parse(init.read_text("utf-8"))) or "").replace("``", "`")


def public_names(init: Path) -> list[str]:
    """Return ``__all__`` of a module, read without importing it; empty where it has none."""
    names = _assigned(init, "__all__") or []
    assert isinstance(names, list)
    return [str(name) for name in names]


def _assigned(path: Path, name: str) -> object:
    """Return the literal that a module assigns to a name, or None."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and any(isinstance(x, ast.Name) and x.id == name for x in node.targets):
            value: object = ast.literal_eval(node.value)
            return value
    return None


def _public_table(init: Path) -> str:
    """Return the table of the names of a package that live in its modules, with links to what is said about them."""
    homes = _assigned(init, "_HOMES") or {}
    assert isinstance(homes, dict)
    links = [(name, f"{homes.get(name, f'{CORE}.errors')}.{name}") for name in public_names(init)]
    return table(
        ["name", "defined in"], [[f"[`{name}`][{home}]", f"`{home.rpartition('.')[0]}`"] for name, home in links]
    )


def _page(title: str, lead: str, modules: list[str], doc: str) -> str:
    parts = [f"# {title}", "", doc, "", lead]
    for module in modules:
        parts += ["", f"::: {module}", _OPTIONS.format(level=2)]
    return "\n".join(parts)


def _package(title: str, members: list[str], doc: str) -> str:
    parts = [f"# {title}", "", doc]
    for name in members:
        if not name.startswith("__"):
            parts += ["", f"::: {title}.{name}", _OPTIONS.format(level=2)]
    return "\n".join(parts)
