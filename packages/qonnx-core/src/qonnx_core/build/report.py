"""The report of a build: `report.json` for scripts, `report.html` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qonnx_core.build.folder import write_text
from qonnx_core.build.runner import Step
from qonnx_core.ir.printable import printable

if TYPE_CHECKING:
    from qonnx_core.build.context import Context

REPORT_JSON, REPORT_HTML = "report.json", "report.html"


def collect(context: Context, steps: Sequence[Step], wanted: Sequence[Step]) -> dict[str, Any]:
    """Return everything the steps have found, with the headline numbers at the top.

    ``mismatches`` and ``boundary`` are in samples: the largest count of any check, since a sample that differs at one
    station usually differs at the ones behind it too. ``complete`` tells whether every wanted step has ended;
    ``failed_step`` and ``error`` why one has not.
    """
    results = context.results
    checks = [check for step in steps for check in results.get(step.name, {}).get("checks", [])]
    checks += [check.to_dict() for check in context.checks]
    simulated = results.get("simulate", {})
    samples = results.get("samples", {})
    return {
        "model": context.config.source.name,
        "backend": context.config.backend,
        "part": context.config.part,
        "clock_ns": context.config.clock_ns,
        "partitions": results.get("partition", {}).get("partitions", []),
        "host_nodes": results.get("partition", {}).get("host_nodes", []),
        "samples": samples.get("samples", 0),
        "samples_origin": samples.get("origin", ""),
        "mismatches": max((check["mismatch"] for check in checks), default=0),
        "boundary": max((check["boundary"] for check in checks), default=0),
        "off_grid": samples.get("off_grid", 0),
        "accuracy_framework": samples.get("accuracy_framework"),
        "accuracy_rtl": simulated.get("accuracy_rtl"),
        "latency_cycles": simulated.get("latency_cycles"),
        "initiation_interval_cycles": simulated.get("initiation_interval_cycles"),
        "resources": results.get("synthesize", {}).get("resources", {}),
        "estimates": results.get("plan", {}).get("estimates", {}),
        "streams": results.get("integer_form", {}).get("streams", {}),
        "checks": checks,
        "complete": all(step.name in results for step in wanted),
        "failed_step": context.running,
        "error": context.error,
        "seconds": {step.name: context.seconds[step.name] for step in steps if step.name in context.seconds},
    }


def write_report(context: Context, steps: Sequence[Step], wanted: Sequence[Step]) -> None:
    """Write `report.json` and `report.html` into the build's folder; for the arguments see `collect`."""
    import jinja2

    report = collect(context, steps, wanted)
    write_text(context.output / REPORT_JSON, json.dumps(report, indent=2) + "\n")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qonnx_core.build", "templates"),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(report=report, titles={s.name: s.title for s in steps})
    write_text(context.output / REPORT_HTML, page)
