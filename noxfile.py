"""Every check of the project by name: `nox -l` lists them.

`nox -s tests` is everything that has to hold. It builds the wheels, runs each package's suite in an environment that
holds only that package and qonnx-core, both from those wheels, and then the integration tests with all five installed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CONSTRAINTS = ROOT / "constraints.txt"
DIST = ROOT / "dist"
CORE = "qonnx-core"
PACKAGES = (CORE, "export-brevitas", "ingest-qkeras", "backend-finn", "backend-hls4ml")
EXTRAS = {CORE: "eda,plots,rewrite,test,view"}  # every other package: "test"
IN_PARALLEL = ("-n", "auto", "--dist", "loadfile")  # of pytest-xdist: a process on each core, each takes whole files
PYTHON = "3.11"  # the version that every session was run with

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_USE_LEGACY_KERAS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "QONNX_SHARED": os.environ.get("QONNX_SHARED", str(ROOT.parent / "shared")),
}


def install(session: nox.Session, *requirements: str) -> None:
    """Install under the project's constraints file, the one home of pinned versions."""
    session.install("--quiet", "--constraint", str(CONSTRAINTS), *requirements)


def wheel(package: str, extras: str = "") -> str:
    """Return the path of a built wheel as a requirement, with extras."""
    found = sorted(DIST.glob(f"{package.replace('-', '_')}-*.whl"))
    if len(found) != 1:
        raise FileNotFoundError(f"dist/: expected one wheel of {package}, found {len(found)}. Run `nox -s build`.")
    return f"{found[0]}[{extras}]" if extras else str(found[0])


def install_wheels(session: nox.Session, *packages: str) -> None:
    """Install our packages from dist/, freshly each time, and their dependencies under the constraints."""
    session.run("pip", "uninstall", "--quiet", "--yes", *packages, silent=True, success_codes=[0, 1])
    install(session, *(wheel(package, EXTRAS.get(package, "test")) for package in packages))


@nox.session(python=PYTHON)
def build(session: nox.Session) -> None:
    """Make wheel and sdist of all five packages in dist/."""
    install(session, "build", "hatchling", "virtualenv")
    shutil.rmtree(DIST, ignore_errors=True)
    for package in PACKAGES:
        session.run(
            "python", "-m", "build", "--no-isolation", "--outdir", str(DIST), f"packages/{package}", silent=True
        )
    session.log("\n".join(path.name for path in sorted(DIST.iterdir())))


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Queue everything that must hold: the wheels, the five package suites, the integration tests."""
    session.notify("build")
    for package in PACKAGES:
        session.notify(f"package(package='{package}')")
    session.notify("integration")


@nox.session(python=PYTHON)
@nox.parametrize("package", PACKAGES)
def package(session: nox.Session, package: str) -> None:
    """Run one package's suite against its wheel, with nothing of ours beside it but qonnx-core."""
    install_wheels(session, *dict.fromkeys((CORE, package)))
    install(session, "pytest-xdist")
    session.run("pytest", *IN_PARALLEL, f"packages/{package}/tests", *session.posargs, env=ENVIRONMENT)


@nox.session(python=PYTHON)
def integration(session: nox.Session) -> None:
    """Run the flows through two or more packages, with simulation and synthesis."""
    install_wheels(session, *PACKAGES)
    install(session, "hatchling", "pytest-xdist", "qonnx", "scikit-learn")
    session.run("pytest", *IN_PARALLEL, "integration_tests", *session.posargs, env=ENVIRONMENT)


@nox.session(python=PYTHON)
def demo(session: nox.Session) -> None:
    """Do the main job: train two models, build each with both backends and one mixed, print the table."""
    install(session, *(f"{ROOT / 'packages' / package}[{EXTRAS.get(package, 'test')}]" for package in PACKAGES))
    install(session, "scikit-learn")
    session.run("python", "examples/demo.py", *(session.posargs or ["--output", "demo"]), env=ENVIRONMENT)


@nox.session(python=PYTHON)
def mnist(session: nox.Session) -> None:
    """Send the whole MNIST test set through the simulated hardware of TFC_1W2A (needs the shared folder)."""
    install(session, *(f"{ROOT / 'packages' / package}[{EXTRAS.get(package, 'test')}]" for package in PACKAGES))
    session.run("python", "examples/mnist_tfc.py", *session.posargs, env=ENVIRONMENT)


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Check style and format."""
    install(session, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=PYTHON)
def types(session: nox.Session) -> None:
    """Check types; the frameworks are not needed for it."""
    install(session, "mypy", "types-PyYAML", f"{ROOT / 'packages' / CORE}[test]")
    for package in PACKAGES:
        session.run("mypy", f"packages/{package}/src")
    session.run("mypy", "--ignore-missing-imports", "examples", "tools")  # what they take of the other packages aside


@nox.session(python=PYTHON)
def docs(session: nox.Session) -> None:
    """Build the documentation site in site/, running its examples; warnings are errors, and no network is used."""
    install(session, "mkdocs-material", "mkdocstrings[python]", f"{ROOT / 'packages' / CORE}[rewrite,test]")
    environment = {**ENVIRONMENT, "NO_MKDOCS_2_WARNING": "1"}
    session.run("mkdocs", "build", "--strict", "--quiet", *session.posargs, env=environment)


@nox.session(python=PYTHON)
def benchmarks(session: nox.Session) -> None:
    """Measure ratios against what users would otherwise pick; write docs/benchmarks.md and its chart.

    The qonnx package runs in an environment of its own. ``-- --quick`` shows in a minute or two that everything runs,
    and writes nothing into docs.
    """
    install(session, *(f"{ROOT / 'packages' / package}[{EXTRAS.get(package, 'test')}]" for package in PACKAGES))
    install(session, "matplotlib")
    temporary = Path(session.create_tmp())
    reference, results = temporary / "reference", temporary / "results"
    python = str(reference / "bin" / "python")
    if not Path(python).exists():
        session.run("python", "-m", "venv", str(reference))
    requirements = ("--constraint", str(CONSTRAINTS), "qonnx", "hls4ml")
    session.run(python, "-m", "pip", "install", "--quiet", *requirements, external=True)
    shutil.rmtree(results, ignore_errors=True)
    quick = "--quick" in session.posargs
    shared = ["--results", str(results)] + ([] if quick else ["--markdown", str(ROOT / "docs" / "benchmarks.md")])
    for script in sorted((ROOT / "benchmarks").glob("*.py")):
        if script.name != "chart.py":
            session.run("python", str(script), "--reference", python, *shared, *session.posargs, env=ENVIRONMENT)
    image = [] if quick else ["--image", str(ROOT / "docs" / "images" / "benchmarks.png")]
    session.run("python", "benchmarks/chart.py", *shared, *image)


@nox.session(python=PYTHON)
def fuzz(session: nox.Session) -> None:
    """Use mutated model files in every way, for ten minutes or as told, and in commands; failures go to a folder."""
    install(session, f"{ROOT / 'packages' / CORE}[test]")
    session.run("python", "-m", "qonnx_core.testing.fuzzing", *(session.posargs or ["--minutes", "10"]))
    if not session.posargs:
        session.run("python", "-m", "qonnx_core.testing.command_fuzzing", "--minutes", "5")


@nox.session(python=PYTHON)
def reference(session: nox.Session) -> None:
    """Compare with PyPI qonnx 1.0.0, which has an environment of its own, on a corpus; write the page of the docs."""
    install(session, f"{ROOT / 'packages' / CORE}[test]")
    other = Path(session.create_tmp()).resolve() / "qonnx"
    python = other / "bin" / "python"
    if not python.exists():
        session.run("python", "-m", "venv", str(other))
    pip = (str(python), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS))
    session.run(*pip, "qonnx", "setuptools", external=True)
    table = ROOT / "docs" / "reference-comparison.md"
    session.run("python", "integration_tests/reference/compare.py", "--python", str(python), "--table", str(table))
