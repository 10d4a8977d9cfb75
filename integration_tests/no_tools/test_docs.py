"""The documentation: its examples run, its links lead somewhere, and it knows everything that there is."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from qonnx_core.testing.random_mlp import MlpShape, random_mlp
from road import ROOT

TOOLS = ROOT / "tools"


@pytest.fixture(scope="module")
def site() -> ModuleType:
    sys.path.insert(0, str(TOOLS))
    try:
        import docs_site
    finally:
        sys.path.remove(str(TOOLS))
    return docs_site


def page_names() -> list[str]:
    hidden = ("passes/examples/", "commands/")
    names = [path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    return [name for name in names if not name.startswith(hidden)]


@pytest.mark.parametrize("name", page_names())
def test_the_examples_of_a_page_do_what_it_says(site: ModuleType, name: str) -> None:
    pages = site.pages()
    shown = site.shown(name, pages[name], pages)
    assert "<!-- output -->" not in shown


CODE = [name for name in page_names() if name != "benchmarks.md"]  # that one is written by the benchmarks
FRAGMENTS = [f"commands/{path.name}" for path in sorted((ROOT / "docs" / "commands").glob("*.md"))]


@pytest.mark.parametrize("name", CODE + FRAGMENTS)
def test_code_of_a_page_is_run_or_says_why_not(site: ModuleType, name: str) -> None:
    import docs_blocks

    for block in docs_blocks.blocks_of((ROOT / "docs" / name).read_text("utf-8")):
        assert block.language in ("python", "sh", "text", "toml", "yaml", "json"), f"{name}:{block.line}"
        if block.language not in docs_blocks.RUN:
            assert not re.match(r"(\$ )?(qonnx|import|from|pip) ", block.text), f"{name}:{block.line}: mark it as code"
        assert block.not_run is None or len(block.not_run) > 10, f"{name}:{block.line}: the reason says nothing"


def test_generated_pages_are_complete(site: ModuleType) -> None:
    pages = site.pages()
    for name in pages.keys() - set(page_names()):
        assert site.shown(name, pages[name], pages).startswith("# ")


def test_every_operator_and_its_function_are_shown(site: ModuleType) -> None:
    from qonnx_core.ops.registry import BUILT_IN

    pages = site.pages()
    text = "\n".join(site.expanded(name, page, pages) for name, page in pages.items() if name.startswith("operators/"))
    for op in BUILT_IN:
        assert f"`{op.op_type}`" in text, op
        assert op.domain in text, op
    assert "depends on required attributes" not in text
    assert "GenericPartition" in text


def test_every_input_and_attribute_says_what_it_means() -> None:
    from qonnx_core.ops.registry import BUILT_IN

    for op in BUILT_IN:
        names = {*op.inputs, *(field.name for field in dataclasses.fields(op))}
        assert names <= op.about.keys(), f"{op.__qualname__}: nothing about {sorted(names - op.about.keys())}"


def test_every_pass_and_every_command_is_shown(site: ModuleType) -> None:
    import docs_commands
    import docs_passes

    pages = site.pages()
    text = "\n".join(site.expanded(name, page, pages) for name, page in pages.items() if not name.startswith("api/"))
    for name in docs_passes.our_passes():
        assert f"### {name}\n" in text, name
    for name in docs_commands.commands():
        assert f"## qonnx {name}\n" in text, name


@pytest.mark.parametrize("name", page_names())
def test_links_of_a_page_lead_somewhere(site: ModuleType, name: str) -> None:
    pages = site.pages()
    text = re.sub(r"^ *```.*?^ *```", "", site.expanded(name, pages[name], pages), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, mark = link.partition("#")
        if target.startswith(("http:", "https:")):
            continue
        folder = Path(name).parent
        path = name if not target else (ROOT / "docs" / folder / target).resolve().relative_to(ROOT / "docs").as_posix()
        assert path in pages or (ROOT / "docs" / path).is_file(), f"{name}: {link}"
        if mark and path in pages:
            import docs_text

            headings = re.findall(r"^#+ (.+)$", site.expanded(path, pages[path], pages), re.MULTILINE)
            assert mark in {docs_text.anchor(heading) for heading in headings}, f"{name}: {link}"


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```python\nraise ValueError('no')\n```", "page.md:1: ValueError: no"),
        ("\n```sh\nls\n```", "page.md:2: 'ls' is no qonnx command"),
        ("```sh\nqonnx info missing.onnx\n```", "exit code 1, expected 0"),
        (
            "<!-- not run: shown only -->\n```sh\nls\n```\n<!-- output -->",
            "page.md:2: the output of a block that is not",
        ),
        ("```text\nls\n```\n<!-- output -->", "page.md:1: the output of a block that is not"),
    ],
)
def test_a_page_that_does_not_do_what_it_says_is_refused(
    site: ModuleType, page: str, message: str, tmp_path: Path
) -> None:
    import docs_blocks

    with pytest.raises(docs_blocks.BlockFailed, match=re.escape(message)):
        docs_blocks.with_outputs(page, tmp_path, "page.md")


def test_outputs_stand_behind_their_blocks_and_errors_are_shown_with_their_code(
    site: ModuleType, tmp_path: Path
) -> None:
    import docs_blocks

    page = """A.

```python
x = 6 * 7
```
Then

    ```python
    print(x)
    ```
    <!-- output -->

<!-- exit code: 1 -->
```sh
qonnx info \\
  missing.onnx
```
<!-- output -->

<!-- not run: shown only -->
```sh
rm -r /
```
"""
    shown = docs_blocks.with_outputs(page, tmp_path, "page.md")
    assert "    ```\n\n    ```text\n    42\n    ```\n" in shown
    assert "error: missing.onnx" in shown
    assert "rm -r /" in shown


def test_messages_of_the_troubleshooting_page_are_those_of_the_code() -> None:
    sources = [path.read_text("utf-8") for path in sorted((ROOT / "packages").glob("*/src/**/*.py"))]
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))  # a message may go over several lines
    code = re.sub(r"\{[^{}]*\}", "...", code)
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    for row in re.findall(r"^\| (`[^|]*) \|", page, re.MULTILINE):
        for message in re.findall(r"`([^`]+)`", row):
            for piece in re.split(r"\s*\.\.\.\s*", message):
                assert piece in code, f"troubleshooting.md: {message!r}: no message holds {piece!r}"


def right_column() -> list[str]:
    """Return the code spans of the column `here` of the tables in coming-from.md."""
    page = (ROOT / "docs" / "coming-from.md").read_text("utf-8")
    rows = [row for table in re.findall(r"\| here \|\n\|[-|]+\n((?:\|.*\n)+)", page) for row in table.splitlines()]
    assert len(rows) > 100
    return [span for row in rows for span in re.findall(r"`([^`]+)`", row.strip("| ").split(" | ", 1)[1])]


def test_every_transformation_and_method_of_the_reference_is_in_the_tables() -> None:
    wrapper = pytest.importorskip("qonnx.core.modelwrapper", reason="qonnx, the reference, is not installed")
    base = importlib.import_module("qonnx.transformation.base")
    home = importlib.import_module("qonnx.transformation")
    theirs = {name for name in dir(wrapper.ModelWrapper) if not name.startswith("_")}
    for module in pkgutil.walk_packages(home.__path__, f"{home.__name__}."):
        found = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        theirs |= {
            name for name, kind in found if issubclass(kind, base.Transformation) and kind is not base.Transformation
        }
    theirs |= {entry.name for entry in importlib.metadata.distribution("qonnx").entry_points}
    page = (ROOT / "docs" / "coming-from.md").read_text("utf-8")
    named = set(
        re.findall(r"[\w-]+", " ".join(row.split(" | ")[0] for row in page.splitlines() if row.startswith("| ")))
    )
    assert theirs <= named, sorted(theirs - named)


def test_every_option_of_the_commands_of_the_reference_is_in_the_tables() -> None:
    """Read from their sources, because some of them do not start without further packages."""
    if importlib.util.find_spec("qonnx") is None:
        pytest.skip("qonnx, the reference, is not installed")
    page = (ROOT / "docs" / "coming-from.md").read_text("utf-8")
    left = [row.split(" | ")[0] for row in page.splitlines() if row.startswith("| `qonnx-")]
    scripts = importlib.metadata.distribution("qonnx").entry_points.select(group="console_scripts")
    assert len(scripts) >= 9
    for entry in scripts:
        module = importlib.util.find_spec(entry.module)
        assert module is not None
        assert module.origin is not None
        text = Path(module.origin).read_text("utf-8")
        functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
        (command,) = re.findall(r"clize\.run\((\w+)\)", text)
        wanted = {f"--{word.arg.replace('_', '-')}" for word in functions[command].args.kwonlyargs}
        named = {option for row in left if f"`{entry.name} " in row for option in re.findall(r"--[\w-]+", row)}
        assert wanted == named, entry.name


@pytest.mark.parametrize("span", sorted({span for span in right_column() if span.startswith("qonnx ")}))
def test_a_command_beside_another_tools_exists_with_its_options(span: str, site: ModuleType) -> None:
    import docs_commands

    _, name, *words = shlex.split(span)
    command = docs_commands.commands()[name]
    options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
    assert {word for word in words if word.startswith("-")} <= options, span


@pytest.mark.parametrize("span", sorted({span for span in right_column() if not span.startswith("qonnx ")}))
def test_a_name_beside_another_tools_exists_and_takes_these_arguments(span: str) -> None:
    model = random_mlp(1, MlpShape())
    known = {"model": model, "value": model.graph.inputs[0], "node": model.graph[0]}
    resolve(ast.parse(span, mode="eval").body, known)


def resolve(tree: ast.expr, known: Mapping[str, object]) -> object:
    """Return what an expression names; a call gives None, after a look at the names of its arguments."""
    match tree:
        case ast.Name(id=name):
            if name in known:
                return known[name]
            for package in ("qonnx_core", ""):
                try:
                    return getattr(importlib.import_module(package), name) if package else importlib.import_module(name)
                except AttributeError:
                    if importlib.util.find_spec(f"{package}.{name}") is not None:
                        return importlib.import_module(f"{package}.{name}")
            raise AssertionError(f"{name}: there is no such name")
        case ast.Attribute(value=inner, attr=name):
            owner = resolve(inner, known)
            if isinstance(owner, ModuleType) and not hasattr(owner, name):
                return importlib.import_module(f"{owner.__name__}.{name}")
            if dataclasses.is_dataclass(owner) and name in {field.name for field in dataclasses.fields(owner)}:
                return None
            return getattr(owner, name)
        case ast.Subscript(value=inner):
            return resolve(inner, known)[0]  # type: ignore[index]
        case ast.Call(func=called, keywords=keywords):
            parameters = inspect.signature(resolve(called, known)).parameters  # type: ignore[arg-type]
            takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
            assert takes_any or {word.arg for word in keywords} <= parameters.keys(), ast.unparse(tree)
            return None
    raise AssertionError(f"{ast.unparse(tree)}: expected a name or a call")


def test_every_command_has_an_example(site: ModuleType) -> None:
    import docs_commands

    for name in docs_commands.commands():
        section = docs_commands.command_section(name, site.FRAGMENTS)
        assert re.search(rf"^qonnx {name}\b", section.rpartition("Example:")[2], re.MULTILINE), name


def test_each_difference_from_the_reference_has_its_test() -> None:
    page = (ROOT / "docs" / "differences.md").read_text("utf-8")
    tests = (ROOT / "packages" / "qonnx-core" / "tests" / "test_reference_defects.py").read_text("utf-8")
    named = re.findall(r"`(test_\w+)` \|$", page, re.MULTILINE)
    assert len(named) > 20
    for name in named:
        assert f"def {name}(" in tests, name


def test_the_readme_of_the_core_names_every_command(site: ModuleType) -> None:
    import docs_commands

    readme = (ROOT / "packages" / "qonnx-core" / "README.md").read_text("utf-8")
    (row,) = re.findall(r"^\| `qonnx` \| the command: (.*) \|$", readme, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == docs_commands.commands().keys()
