"""The catalog of passes: it holds all of them, and makes them of texts."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx_ir as ir
import pytest

from qonnx_core import plugins
from qonnx_core.errors import InvalidInput, QonnxError
from qonnx_core.ops.rounding import Rounding
from qonnx_core.passes import catalog as module
from qonnx_core.passes.catalog import catalog, make_pass
from qonnx_core.passes.fold_constants import FoldConstants
from qonnx_core.passes.insert_topk import InsertTopK


def test_every_module_of_a_pass_is_in_the_catalog_and_says_what_it_does() -> None:
    entries = catalog()
    assert entries["fold_constants"].factory is FoldConstants
    assert entries["append_argmax"].summary.endswith(".")
    assert list(entries) == sorted(entries)
    for name, entry in entries.items():
        assert entry.name == name == entry.factory(**{a.name: a.default for a in entry.arguments}).name
        assert entry.summary, name
        assert entry.to_dict()["name"] == name


@dataclass(frozen=True)
class Sample:
    """Do nothing."""

    count: int = 1
    share: float = 0.5
    deep: bool = False
    names: tuple[str, ...] = ()
    axes: tuple[int, ...] = ()
    size: int | str = "batch"
    limit: float | None = None
    mode: Literal["a", "b"] = "a"
    rounding: Rounding = Rounding.ROUND
    path: Path | None = None
    table: object = None
    name: str = "sample"

    def run(self, model: ir.Model) -> int:
        """Change nothing."""
        return 0


@pytest.fixture
def with_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {**catalog(), "sample": module._entry(Sample)}
    monkeypatch.setattr(module, "catalog", lambda: entries)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sample", Sample()),
        ("sample:count=3,share=0.25,deep=yes", Sample(3, 0.25, True)),
        ("sample:names=a,b*,axes=1,-2", Sample(names=("a", "b*"), axes=(1, -2))),
        ("sample:size=4,limit=none", Sample(size=4)),
        ("sample:size=N,limit=1e-3", Sample(size="N", limit=1e-3)),
        ("sample:mode=b,rounding=floor,path=x/y", Sample(mode="b", rounding=Rounding.FLOOR, path=Path("x/y"))),
        ("sample:names=", Sample()),
    ],
)
def test_arguments_are_read_as_their_types(with_sample: None, text: str, wanted: Sample) -> None:
    assert make_pass(text) == wanted


def test_a_pass_with_a_number() -> None:
    assert make_pass("insert_topk:k=3,largest=no") == InsertTopK(3, largest=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fold_constant", "Did you mean fold_constants"),
        ("zzzzzz", "--list"),
        ("insert_topk:kk=3", "no argument 'kk'; expected one of: k, axis, largest, sorted. Did you mean k?"),
        ("insert_topk:k=three", "argument k: found 'three'; expected a whole number"),
        ("insert_topk:largest=maybe", "expected true or false"),
        ("insert_topk:3", "expected argument=value"),
        ("insert_topk:name=other", "no argument 'name'"),
        ("sample:mode=c", "expected a or b"),
        ("sample:rounding=x", "ROUND or CEIL"),
        ("sample:axes=1,x", "expected a whole number"),
        ("sample:limit=x", "expected a number or none"),
        ("sample:table=x", "cannot be given as text"),
    ],
)
def test_a_wrong_text_is_refused(with_sample: None, text: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        make_pass(text)
    assert reason in str(refusal.value)


def test_a_plug_in_that_is_no_pass_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("odd", "json:loads", "qonnx_core.passes")
    monkeypatch.setattr(plugins, "_entries", lambda kind: {"odd": entry})
    with pytest.raises(QonnxError, match="plug-in odd of group"):
        catalog.__wrapped__()


def test_two_passes_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint(
        "fold_constants", "qonnx_core.passes.fold_constants:FoldConstants", "qonnx_core.passes"
    )
    monkeypatch.setattr(plugins, "_entries", lambda kind: {"fold_constants": entry})
    with pytest.raises(QonnxError, match="pass fold_constants: defined by"):
        catalog.__wrapped__()
