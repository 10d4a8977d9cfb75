"""The scripts for developers."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from road import ROOT


@pytest.fixture
def gather() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gather_changes", ROOT / "tools" / "gather_changes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(root: Path, **fragments: str) -> None:
    (root / "changes").mkdir(exist_ok=True)
    for name, text in fragments.items():
        (root / "changes" / f"{name.replace('__', '.')}.md").write_text(text)


def test_fragments_become_a_section_and_the_newest_version_comes_first(gather: ModuleType, tmp_path: Path) -> None:
    write(tmp_path, b__added="Second\nline.\n", a__added="First.", c__fixed="Mended.")
    assert gather.main(["0.1.0", "--date", "2026-01-02", "--write"], tmp_path) == 0
    write(tmp_path, d__changed="Other.")
    assert gather.main(["0.2.0", "--date", "2026-02-03", "--write"], tmp_path) == 0
    assert (tmp_path / "CHANGELOG.md").read_text() == (
        "# Changes\n\n## 0.2.0 (2026-02-03)\n\n### Changed\n\n- Other.\n"
        "\n## 0.1.0 (2026-01-02)\n\n### Added\n\n- First.\n- Second line.\n\n### Fixed\n\n- Mended.\n"
    )
    assert not list((tmp_path / "changes").iterdir())


def test_without_write_nothing_changes(gather: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, a__removed="Gone.")
    gather.main(["1.0.0", "--date", "2026-01-02"], tmp_path)
    assert "### Removed\n\n- Gone." in capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob("*.md")] == ["a.removed.md"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("a__news", "x", "a.news.md: expected a name such as topic.added.md"), ("a__added", " ", "a.added.md: is empty")],
)
def test_a_wrong_fragment_is_refused(gather: ModuleType, tmp_path: Path, name: str, text: str, message: str) -> None:
    write(tmp_path, **{name: text})
    with pytest.raises(SystemExit, match=message):
        gather.main(["1.0.0", "--date", "2026-01-02", "--write"], tmp_path)


def test_the_fragments_of_the_repository_are_well_formed(gather: ModuleType) -> None:
    if any((ROOT / "changes").iterdir()):
        assert gather.main(["0.0.0", "--date", "2026-01-02"]) == 0
