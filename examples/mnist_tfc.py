"""The whole MNIST test set through the simulated hardware of TFC_1W2A, on FINN's published folding and mixed.

    nox -s mnist
    python examples/mnist_tfc.py --shared ../shared --output mnist

TFC_1W2A is a Brevitas MLP 784-64-64-64-10 with 1-bit weights and 2-bit activations from the QONNX model zoo. It and the
test set are not part of this repository: they are looked for in the shared folder.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from qonnx_core.build import Build, BuildConfig
from qonnx_core.cli.progress import shown

HERE = Path(__file__).parent
MODEL, IMAGES, LABELS = (
    "models/zoo/TFC_1W2A.onnx",
    "data/mnist-t10k-images-idx3-ubyte.gz",
    "data/mnist-t10k-labels-idx1-ubyte.gz",
)
EXPECTED_CORRECT = 9474
SPLIT = """\
default: hls4ml
rules:
  - {match: {to: Quant_1_out0}, backend: finn}
"""


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Return the array of a gzipped IDX file of bytes: two zeros, type 8, the rank, then big-endian sizes and data."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    if content[:3] != b"\0\0\x08":
        raise SystemExit(f"{path}: not an IDX file of unsigned bytes")
    shape = np.frombuffer(content, ">u4", rank, offset=4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def main() -> int:
    """Build and simulate, print the table, and return 0 when every answer is as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("QONNX_SHARED", HERE.parent.parent / "shared"))
    parser.add_argument("--shared", type=Path, default=default, help="folder with models/ and data/")
    parser.add_argument("--output", type=Path, default=Path("mnist"), help="folder of the builds")
    parser.add_argument("--backends", nargs="+", default=["finn", "mixed"], choices=("finn", "hls4ml", "mixed"))
    parser.add_argument("--samples", type=int, default=10_000, help="use only the first pictures")
    parser.add_argument("--synthesize", action="store_true", help="synthesize too (minutes)")
    arguments = parser.parse_args()
    missing = [name for name in (MODEL, IMAGES, LABELS) if not (arguments.shared / name).is_file()]
    if missing:
        raise SystemExit(f"{arguments.shared}: {', '.join(missing)} not found; give the folder with --shared")
    output: Path = arguments.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    data, split = output / "mnist.npz", output / "split.yaml"
    pixels = read_idx(arguments.shared / IMAGES)[: arguments.samples]
    labels = read_idx(arguments.shared / LABELS)[: arguments.samples].astype(np.int64)
    images = (pixels / 255).astype(np.float32).reshape(-1, 1, 28, 28)
    np.savez(data, x=images, labels=labels)
    split.write_text(SPLIT)
    table = Table(title=f"TFC_1W2A on {len(images)} MNIST test pictures, simulated RTL")
    for column in (
        "backend",
        "correct",
        "mismatches",
        "boundary",
        "latency cycles",
        "cycles a frame",
        "LUT",
        "seconds",
    ):
        table.add_column(column, justify="left" if column == "backend" else "right")
    good = True
    for backend in arguments.backends:
        config = BuildConfig(
            source=arguments.shared / MODEL,
            output=output / backend,
            backend=backend,
            rules=split if backend == "mixed" else None,
            data=data,
            input_types={"": "UINT8*1/255"},
            folding=HERE / "tfc_folding.json" if backend == "finn" else None,
            steps=() if arguments.synthesize else ("simulate",),
        )
        with shown(f"{backend}: ") as listen:
            report = Build(config).run(listen)
        correct = round(report["accuracy_rtl"] * len(images))
        good &= report["mismatches"] == 0 and (len(images) != 10_000 or correct == EXPECTED_CORRECT)
        luts = ", ".join(f"{family} {found['lut']}" for family, found in report["resources"].items())
        interval = f"{report['initiation_interval_cycles']:g}"
        seconds = f"{sum(report['seconds'].values()):.0f}"
        counts = (correct, report["mismatches"], report["boundary"], report["latency_cycles"])
        table.add_row(backend, *map(str, counts), interval, luts, seconds)
    Console().print(table)
    return 0 if good else 3


if __name__ == "__main__":
    sys.exit(main())
