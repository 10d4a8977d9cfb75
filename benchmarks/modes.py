"""The two modes of the executor: what "fast" gains, and how many values come out differently.

    nox -s benchmarks
    python benchmarks/modes.py [--quick]

Both run the same model in one thread. A value differs where its bits do; a level differs where a quantizer of an
activation took another step. Weights and images are random, so the share of changed answers is not that of a trained
network, whose outputs are further apart.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from measuring import Result, arguments, interleaved, local, pin, text_of_time
from measuring.models import images, mobilenet, perceptron, resnet

import qonnx_core


def cases(quick: bool) -> dict[str, tuple[ir.Model, np.ndarray]]:
    """Return the models with their inputs."""
    size, count = (64, 4) if quick else (224, 4)
    flat = np.random.default_rng(1).normal(0, 1, (100, 784)).astype(np.float32)
    return {
        "perceptron, batch 100": (perceptron("N"), flat),
        f"MobileNetV1-class, batch {count}": (mobilenet("N", size), images(count, size)),
        f"ResNet50-class, batch {count}": (resnet("N", size), images(count, size)),
    }


def main() -> None:
    """Measure and print the table."""
    options = arguments("The modes of the executor")
    pin()
    rows = []
    for name, (model, x) in cases(options.quick).items():
        exact, fast = (qonnx_core.compile_model(model, mode=mode) for mode in ("exact", "fast"))
        feeds = {"global_in": x}
        # Intermediate tensors are looked at in runs of their own: asking for one keeps it from being fused.
        tensors = [
            node.outputs[0].name or ""
            for node in model.graph
            if node.op_type == "Quant" and node.outputs[0].name in exact.activation_names
        ]
        levels = differing = 0
        found = exact.run(feeds, tensors), fast.run(feeds, tensors)
        for tensor in tensors:
            levels += found[0][tensor].size
            differing += int((found[0][tensor] != found[1][tensor]).sum())
        left, right = exact.run(feeds)["global_out"], fast.run(feeds)["global_out"]
        answers = int((left.argmax(axis=1) != right.argmax(axis=1)).sum())
        times = interleaved(
            {"exact": local(lambda exact=exact, feeds=feeds: exact.run(feeds)),
             "fast": local(lambda fast=fast, feeds=feeds: fast.run(feeds))},
            rounds=3 if options.quick else 9, title=name,
        )  # fmt: skip
        rows.append(
            (
                name,
                text_of_time(times["exact"]),
                text_of_time(times["fast"]),
                f"{times['exact'] / times['fast']:.2f}",
                f"{differing} of {levels} ({differing / max(1, levels):.2%})",
                f"{(left != right).mean():.1%}",
                f"{answers} of {len(x)}",
            )
        )
    columns = ("model", "exact", "fast", "exact / fast", "levels that differ", "outputs that differ", "other answers")
    distributions = ("qonnx-core", "onnxruntime", "numpy")
    Result("modes", "Modes of the executor", columns, rows, distributions).show(options)


if __name__ == "__main__":
    main()
