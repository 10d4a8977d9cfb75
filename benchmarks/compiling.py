"""CPU time from a model in memory to a session that is ready to run, against a session on the hand-lowered model.

    nox -s benchmarks
    python benchmarks/compiling.py [--quick]

The hand-lowered model is an ``onnx.ModelProto``; its time is that of its bytes and of the session on them, with the
settings of this executor. It needs no reading of quantizers, no folding of weights and no checks.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from execution import by_hand
from measuring import Result, Target, arguments, interleaved, local, pin, text_of_time
from measuring.models import chain, lowered_by_hand, mobilenet, perceptron, resnet

import qonnx_core
from qonnx_core.execute.session import SessionSettings
from qonnx_core.testing.random_mlp import MlpShape, random_mlp


def layers(count: int) -> ir.Model:
    """Return a perceptron with about ``count`` quantizers, half of them of weights."""
    return random_mlp(3, MlpShape((16,) * (count // 2 + 1), tail=False, batch="N", quantize_input=False))


def main() -> None:
    """Measure in turns and print the table."""
    options = arguments("CPU time of compiling")
    pin()
    size, rounds = (64, 2) if options.quick else (224, 9)
    models = {
        "perceptron 784-64-64-64-10": perceptron("N"),
        "chain of 800 quantizers": chain(800, "N"),
        "chain of 800 quantizers, batch of 1 made symbolic": chain(800, 1),
        "perceptron with 800 quantizers": layers(800),
        "chain of 3200 quantizers": chain(3200, "N"),
        "MobileNetV1-class": mobilenet("N", size),
        "ResNet50-class": resnet("N", size),
    }
    rows, targets = [], []
    for name, model in models.items():
        lowered: onnx.ModelProto = lowered_by_hand(model)
        times = interleaved(
            {
                "ours": local(lambda model=model: qonnx_core.compile_model(model)),
                "by hand": local(lambda proto=lowered: by_hand(proto.SerializeToString(), SessionSettings())),
            },
            rounds=rounds,
            title=name,
        )
        ratio = times["ours"] / times["by hand"]
        number = sum(node.op_type == "Quant" for node in model.graph)
        rows.append((name, str(number), text_of_time(times["ours"]), text_of_time(times["by hand"]), f"{ratio:.2f}"))
        if "800" in name:
            targets.append(Target(f"{name}: compiling against a session on the hand-lowered model", ratio, 2))
    columns = ("model", "quantizers", "compile_model", "session on the hand-lowered model", "ratio")
    distributions = ("qonnx-core", "onnxruntime", "onnx-ir", "onnx")
    Result("compile", "Compiling a model", columns, rows, distributions, "", targets).show(options)


if __name__ == "__main__":
    main()
