"""The main job: two trained models, five builds, one table.

A Brevitas and a QKeras classifier of scikit-learn's handwritten digits are trained, exported to QONNX and verified, and
each is built into hardware with each backend; one is built with both at once. Run it again after an interruption: what
is finished is kept.

    nox -s demo                              (does the set-up too)
    python examples/demo.py --output demo    (in an environment with the five packages and scikit-learn)
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from qonnx_core.build import Build, BuildConfig
from qonnx_core.cli.progress import shown
from qonnx_core.errors import QonnxError

HERE = Path(__file__).parent
REQUIRED_ACCURACY = 0.93
TABLE_WIDTH = 136


@dataclass(frozen=True)
class Model:
    """One trained model: who makes it, and the grid of its input (8x8 pixels of 0 to 16)."""

    name: str
    framework: str
    make: Callable[[Path], None]
    input_type: str


def make_brevitas(folder: Path) -> None:
    """Train the Brevitas model, export it, and save the held-out samples with the framework's outputs."""
    import torch
    from train_digits_brevitas import train

    from export_brevitas import export_qonnx

    model, x, labels = train()
    x = np.asarray(x, np.float32)
    example = torch.from_numpy(x)
    export_qonnx(model, (example[:1],), folder / "model.onnx", verify_inputs=example)
    with torch.no_grad():
        y = model(example)
    y = np.asarray(getattr(y, "value", y), np.float32)
    save(folder, x, y, labels)


def make_qkeras(folder: Path) -> None:
    """Train the QKeras model, convert it, and save the held-out samples with the framework's outputs."""
    from train_digits_qkeras import train

    from ingest_qkeras import from_keras
    from qonnx_core import save as save_model

    model, x, labels = train()
    x = np.asarray(x, np.float32)
    save_model(from_keras(model, verify_inputs=x), folder / "model.onnx")
    save(folder, x, np.asarray(model.predict(x, verbose=0), np.float32), labels)


def save(folder: Path, x: Any, y: Any, labels: Any) -> None:
    """Save the held-out samples; this file marks the model as finished, so it is written last and at once."""
    accuracy = float((y.argmax(1) == np.asarray(labels)).mean())
    if accuracy < REQUIRED_ACCURACY:
        raise SystemExit(f"{folder.name}: accuracy is {accuracy:.4f}; expected at least {REQUIRED_ACCURACY}.")
    partial = folder / ".partial-held_out.npz"
    np.savez(partial, x=x, y=y, labels=np.asarray(labels, np.int64))
    os.replace(partial, folder / "held_out.npz")


MODELS = (
    Model("digits_brevitas", "Brevitas", make_brevitas, "UINT5"),
    Model("digits_qkeras", "QKeras", make_qkeras, "UINT5*1/16"),
)
BUILDS = (
    ("digits_brevitas", "finn"),
    ("digits_brevitas", "hls4ml"),
    ("digits_brevitas", "mixed"),
    ("digits_qkeras", "finn"),
    ("digits_qkeras", "hls4ml"),
)


def prepare(model: Model, output: Path, console: Console) -> Path:
    """Return the folder of a model: trained, exported and verified, in a process of its own (one framework each)."""
    folder = output / model.name
    if not (folder / "held_out.npz").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with console.status(f"training {model.name} with {model.framework}, exporting and verifying it"):
            worker = multiprocessing.get_context("spawn").Process(target=model.make, args=(folder,))
            worker.start()
            worker.join()
        if worker.exitcode != 0:
            raise SystemExit(f"{model.name}: training or export failed, see above")
    console.print(f"{model.name}: trained with {model.framework}, exported to QONNX, verified", highlight=False)
    return folder


def build(model: Model, folder: Path, backend: str, output: Path, synthesize: list[str]) -> dict[str, Any]:
    """Build one model with one backend and return the report."""
    config = BuildConfig(
        source=folder / "model.onnx",
        output=output / f"{model.name}_{backend}",
        backend=backend,
        data=folder / "held_out.npz",
        input_types={"": model.input_type},
        synthesize=tuple(synthesize),
    )
    with shown(f"{model.name} on {backend}: ") as listen:
        return Build(config).run(listen)


def results(rows: list[dict[str, Any]]) -> Table:
    """Return the table of all builds."""
    table = Table(title="Handwritten digits, held-out part: from framework to simulated hardware", box=SIMPLE_HEAD)
    columns = (
        "model",
        "backend",
        "accuracy\nframework",
        "accuracy\nRTL",
        "mismatches",
        "latency\ncycles",
        "II\ncycles",
    )
    for column in (*columns, "family", "LUT", "FF", "BRAM18", "DSP", "seconds"):
        table.add_column(column, justify="left" if column in ("model", "backend", "family") else "right")
    for row in rows:
        for family, found in row["resources"].items():
            table.add_row(
                row["name"],
                row["backend"],
                f"{100 * row['accuracy_framework']:.2f} %",
                f"{100 * row['accuracy_rtl']:.2f} %",
                str(row["mismatches"]),
                str(row["latency_cycles"]),
                f"{row['initiation_interval_cycles']:g}",
                family,
                *(str(found[kind]) for kind in ("lut", "ff", "bram18", "dsp")),
                f"{sum(row['seconds'].values()):.0f}",
            )
    return table


def main() -> int:
    """Run the demo and return the exit code: 0 when no build has a mismatch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of the demo (default: demo)")
    parser.add_argument("--synthesize", nargs="+", choices=("xc7", "ecp5"), default=["xc7"], help="families")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    sys.path.insert(0, str(HERE))
    console = Console(stderr=True)
    started = time.perf_counter()
    rows = []
    try:
        folders = {model.name: prepare(model, output, console) for model in MODELS}
        by_name = {model.name: model for model in MODELS}
        for name, backend in BUILDS:
            report = build(by_name[name], folders[name], backend, output, arguments.synthesize)
            rows.append({**report, "name": name})
            console.print(f"{name} on {backend}: {report['mismatches']} mismatches", highlight=False)
    except KeyboardInterrupt:
        console.print("interrupted; run the same command again and it goes on where it stopped")
        return 130
    except QonnxError as error:
        console.print(f"error: {error}", markup=False)
        return 1
    (output / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    table = Console()
    table.width = max(table.width, TABLE_WIDTH)  # a narrow terminal breaks lines rather than numbers
    table.print(results(rows))
    console.print(
        f"{time.perf_counter() - started:.0f} s; each build's report is {output}/*/report.html", highlight=False
    )
    return 0 if all(row["mismatches"] == 0 for row in rows) else 3


if __name__ == "__main__":
    sys.exit(main())
