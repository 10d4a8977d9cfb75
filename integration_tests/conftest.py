"""What the flows share: builds into the test's folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from qonnx_core.build import Build, BuildConfig
from road import Report


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Report]:
    """Give a function that builds into the test's folder and returns the report as it stands on disk."""

    def run(source: Path, backend: str, *, output: str = "out", **options: Any) -> Report:
        config = BuildConfig(source=source, output=tmp_path / output, backend=backend, **options)
        returned = Build(config).run()
        written: Report = json.loads((tmp_path / output / "report.json").read_text())
        assert written == json.loads(json.dumps(returned))
        return written

    return run
