"""What the flows check: a report in which no station of the road differs from the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

Report = dict[str, Any]


def assert_exact(report: Report, *, boundary: int = 0) -> None:
    """Check that no station of the road differs from the one before."""
    assert report["complete"]
    assert report["mismatches"] == 0
    assert report["boundary"] <= boundary
    stations = [(check["left"], check["right"]) for check in report["checks"]]
    for right in ("cleaned QONNX", "composed partitions", "stitched RTL", "stitched RTL with gaps and back-pressure"):
        assert any(station[1] == right for station in stations), (right, stations)
    assert sum("emulation" in right for _, right in stations) == len(report["partitions"])
    for check in report["checks"]:
        assert check["samples"] > 0
        assert check["samples"] == sum(check[kind] for kind in ("equal", "rounding", "boundary", "mismatch"))
