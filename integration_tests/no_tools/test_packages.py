"""The five packages are of one shape and one version, their arrows point one way, and each stays light to import."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from road import ROOT

CORE = "qonnx-core"
PACKAGES = (CORE, "export-brevitas", "ingest-qkeras", "backend-finn", "backend-hls4ml")
FRAMEWORKS = ("torch", "brevitas", "tensorflow", "keras", "tf_keras", "qkeras", "hls4ml", "alkaid", "onnxscript")
# Name spaces, licences, and the repositories that `qonnx zoo list` names; never where packages come from.
KNOWN_ADDRESSES = ("www.w3.org", "www.gnu.org", "www.apache.org", "github.com", "localhost")
MAX_LINES = 600

each_package = pytest.mark.parametrize("package", PACKAGES)


def import_name(package: str) -> str:
    return package.replace("-", "_")


def settings(package: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())


def requirements(package: str) -> list[str]:
    project = settings(package)["project"]
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(line for lines in extras.values() for line in lines)]


def tracked_files() -> list[Path]:
    """Return the files of the repository, or, in a copy without its history, all but those that tools leave behind."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        files = [ROOT / name for name in done.stdout.split("\0") if name]
    else:
        left_behind = {"dist", "demo", "site", "build", "__pycache__"}
        files = [
            path
            for path in ROOT.rglob("*")
            if not any(part in left_behind or part.startswith(".") for part in path.relative_to(ROOT).parts)
        ]
    return [path for path in files if path.is_file()]


def tracked_texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked_files():
        try:
            found.append((path.relative_to(ROOT), path.read_text("utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_every_package_has_its_folder() -> None:
    assert sorted(PACKAGES) == sorted(path.parent.name for path in (ROOT / "packages").glob("*/pyproject.toml"))


@each_package
def test_all_carry_one_version(package: str) -> None:
    version = settings(CORE)["project"]["version"]
    assert settings(package)["project"]["version"] == version
    assert importlib.metadata.version(package) == version
    assert importlib.import_module(import_name(package)).__version__ == version


@each_package
def test_packages_require_each_other_by_compatible_version(package: str) -> None:
    version = settings(CORE)["project"]["version"]
    ours = [line for line in requirements(package) if line.startswith(PACKAGES)]
    assert all(re.fullmatch(rf"{CORE}(\[[a-z]+\])?~={re.escape(version)}", line) for line in ours), ours
    assert package == CORE or f"{CORE}~={version}" in settings(package)["project"]["dependencies"]


@each_package
def test_every_pyproject_has_the_same_shape(package: str) -> None:
    found, core = settings(package), settings(CORE)
    name = import_name(package)
    assert list(found) == list(core)
    assert found["build-system"] == core["build-system"]
    assert found["tool"] == {"hatch": {"build": {"targets": {"wheel": {"packages": [f"src/{name}"]}}}}}
    project = found["project"]
    assert [key for key in project if key not in ("scripts", "entry-points")] == [
        key for key in core["project"] if key not in ("scripts", "entry-points")
    ]
    for key in ("readme", "license", "license-files", "requires-python", "classifiers"):
        assert project[key] == core["project"][key], key
    assert project["name"] == package
    assert "test" in project["optional-dependencies"]
    for lines in (project["dependencies"], *project["optional-dependencies"].values()):
        assert lines == sorted(lines)


@each_package
def test_every_package_has_readme_licence_and_type_marker(package: str) -> None:
    folder = ROOT / "packages" / package
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (folder / "src" / import_name(package) / "py.typed").is_file()
    readme = (folder / "README.md").read_text()
    assert readme.startswith(f"# {package}\n\n")
    assert re.search(rf"^pip install .*packages/{package}\b", readme, re.MULTILINE)
    assert "```python" in readme
    assert "docs/" in readme
    assert list((folder / "tests").rglob("test_*.py"))


@each_package
def test_importing_a_package_imports_no_framework(package: str) -> None:
    code = f"import {import_name(package)}, sys; print([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_and_the_list_of_plug_ins_import_no_framework() -> None:
    code = (
        "import sys; from qonnx_core import plugins; from qonnx_core.cli import main;"
        "plugins.backends(); plugins.frontends(); plugins.ops(); plugins.passes();"
        f"print([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def imported(path: Path) -> set[str]:
    """Return the top-level names of the packages that a source file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


@each_package
def test_arrows_point_one_way(package: str) -> None:
    own = {import_name(package), import_name(CORE)}
    others = {import_name(other) for other in PACKAGES} - own
    folder = ROOT / "packages" / package
    for path in (*(folder / "src").rglob("*.py"), *(folder / "tests").rglob("*.py")):
        assert not imported(path) & others, path
        assert not imported(path) & {"tools", "examples", "benchmarks"}, path


@each_package
def test_what_the_sources_import_is_required(package: str) -> None:
    """Every third-party module that a source imports at its top is a requirement, so that a bare install imports."""
    distributions = importlib.metadata.packages_distributions()
    declared = {re.split(r"[\[<>=~!; ]", line)[0].lower().replace("_", "-") for line in requirements(package)}
    declared |= {CORE, package}
    if package != CORE:  # what the core needs comes with it
        declared |= {re.split(r"[\[<>=~!; ]", line)[0].lower() for line in settings(CORE)["project"]["dependencies"]}
    for path in (ROOT / "packages" / package / "src").rglob("*.py"):
        for name in imported(path) - sys.stdlib_module_names:
            homes = {home.lower().replace("_", "-") for home in distributions.get(name, [name])}
            assert homes & declared, f"{path.relative_to(ROOT)} imports {name}, which {package} does not require"


def test_versions_are_pinned_in_one_place() -> None:
    pin = re.compile(r"[A-Za-z0-9_\]]\s*==\s*[0-9]+\.[0-9]")
    for package in PACKAGES:
        assert not [line for line in requirements(package) if "==" in line], package
    for name in ("noxfile.py", ".ci/run", ".pre-commit-config.yaml", "README.md", "pyproject.toml"):
        assert not pin.search((ROOT / name).read_text()), name
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^=\s]+", line) for line in lines)
    names = [line.split("==")[0].lower().replace("_", "-") for line in lines]
    assert len(names) == len(set(names))


def test_files_name_no_place_to_download_from() -> None:
    hosts = re.compile(r"(?:https?|git\+ssh|ssh)://([A-Za-z0-9.-]+)")
    option = re.compile(r"--(?:extra-)?index-url[ =]\S|--find-links[ =]\S|--trusted-host[ =]\S")
    for path, text in tracked_texts():
        if path.name == "LICENSE":
            continue
        assert not [host for host in hosts.findall(text) if host not in KNOWN_ADDRESSES], path
        assert path == Path(__file__).relative_to(ROOT) or not option.search(text), path


def test_files_name_no_folder_of_one_machine() -> None:
    absolute = re.compile(r"[\"'`( =](?:/home/|/root/|/work/|/Users/)")
    for path, text in tracked_texts():
        assert path == Path(__file__).relative_to(ROOT) or not absolute.search(text), path


def test_no_file_of_code_is_long() -> None:
    code = (".py", ".sv", ".j2", ".h", ".cc")
    long = {str(path): text.count("\n") for path, text in tracked_texts() if path.suffix in code}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}


def test_no_code_is_left_to_be_done() -> None:
    marker = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
    for path, text in tracked_texts():
        if path.suffix in (".py", ".sv", ".j2", ".h"):
            assert not marker.search(text), path
