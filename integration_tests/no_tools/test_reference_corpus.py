"""A slice of the corpus on which this project and PyPI qonnx 1.0.0 are compared; `nox -s reference` runs all of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from road import ROOT

pytest.importorskip("qonnx.core.modelwrapper", reason="the package qonnx is not installed")
FOLDER = ROOT / "integration_tests" / "reference"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_compare", FOLDER / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_both_packages_give_the_same_bits_and_read_what_the_other_one_writes(
    compare: ModuleType, tmp_path: Path
) -> None:
    from corpus import few_cases  # the module before put its folder onto the path

    outcomes = compare.compare(few_cases(), sys.executable, tmp_path)
    assert len(outcomes) >= 20
    assert not [(outcome.case.name, outcome.result, outcome.detail) for outcome in outcomes if not outcome.good]
    assert {outcome.result for outcome in outcomes} >= {"equal", "ours is right"}


def test_the_page_of_the_documentation_is_that_of_this_corpus(compare: ModuleType) -> None:
    from corpus import cases

    page = (ROOT / "docs" / "reference-comparison.md").read_text("utf-8")
    groups: dict[str, int] = {}
    for case in cases():
        if case.expected == "reference is wrong":
            assert f"| {case.name} | {case.reason} | right |" in page
        else:
            groups[case.group] = groups.get(case.group, 0) + 1
    for group, count in groups.items():
        assert f"| {group} | {count} | " in page
