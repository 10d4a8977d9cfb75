"""LUTs of synthesized layers against what FINN estimates for its own.

    nox -s benchmarks
    python benchmarks/resources.py [--quick]

Each row is one layer of FINN's TFC with 1-bit weights and 2-bit activations at FINN's published folding, with random
weights: a matrix product with thresholds behind it, with the streams around it. FINN's number is the formula of its HLS
kernel (MVAU_hls: multipliers, adder tree, accumulator, thresholds and comparators, 10 % and 300 LUTs on top).
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
from measuring import Result, arguments, progress

import qonnx_core
from backend_finn import BACKEND
from qonnx_core.eda.synthesize import synthesize
from qonnx_core.eda.targets import Target
from qonnx_core.ir.grid import Grid
from qonnx_core.ops import BipolarQuant, Quant
from qonnx_core.passes.streamline import to_integer_form

LAYERS = ((784, 64, 16, 49), (64, 64, 8, 8))  # rows, columns, PE, SIMD
WEIGHT_BITS, INPUT_BITS, OUTPUT_BITS = 1, 2, 2


def layer(rows: int, columns: int) -> ir.Model:
    """Return a model of one layer: bipolar weights, batch norm, and a quantizer of 2 bits, on inputs of 2 bits."""
    rng = np.random.default_rng(rows)
    constants: list[ir.Value] = []

    def constant(array: object) -> ir.Value:
        name = f"c{len(constants)}"
        constants.append(ir.val(name, const_value=ir.tensor(np.asarray(array, np.float32), name=name)))
        return constants[-1]

    x = ir.val("global_in", dtype=ir.DataType.FLOAT, shape=ir.Shape(["N", rows]))
    weights = BipolarQuant().node(constant(rng.normal(0, 1, (rows, columns))), constant(1.0), name="w", output="w_q")
    product = ir.node("MatMul", [x, weights.outputs[0]], name="product")
    spread = math.sqrt(rows * 1.25)  # of the sum of as many random terms
    statistics = (rng.uniform(0.5, 1.5, columns), rng.normal(0, 1, columns), rng.normal(0, spread, columns))
    normal = ir.node(
        "BatchNormalization",
        [product.outputs[0], *map(constant, (*statistics, np.full(columns, spread**2)))],
        name="normal",
    )
    for node in (product, normal):
        node.outputs[0].name = f"{node.name}_out"
    quant = Quant(signed=True).node(
        normal.outputs[0], constant(1.0), constant(0.0), constant(OUTPUT_BITS), name="quant", output="global_out"
    )
    quant.outputs[0].shape = ir.Shape(["N", columns])
    opsets = {"": 17, Quant.domain: 1}
    nodes = [weights, product, normal, quant]
    graph = ir.Graph([x], quant.outputs, nodes=nodes, initializers=constants, opset_imports=opsets, name="layer")
    return ir.Model(graph, ir_version=8)


def finn_estimate(rows: int, columns: int, pe: int, simd: int) -> tuple[int, int]:
    """Return LUT and 18-kbit memories that FINN estimates for MVAU_hls with embedded thresholds and no DSP."""
    both = WEIGHT_BITS + INPUT_BITS
    multipliers = simd * (2 * math.ceil(both / 6) - 1) * both
    adder_tree = both * (2 * simd - 1)
    alpha = math.log2(rows) + both - 1 - 1
    accumulator = math.ceil(alpha + math.log2(1 + 2**-alpha) + 1)
    steps = 2**OUTPUT_BITS - 1
    thresholds = steps * accumulator * math.ceil(columns / pe / 64)
    comparators = steps * accumulator
    lut = 300 + 1.1 * pe * (multipliers + adder_tree + accumulator + thresholds + comparators)
    depth, width = rows * columns // (pe * simd), pe * simd * WEIGHT_BITS
    if width > 18 and depth <= 512:
        memories = math.ceil(depth / 512) * math.ceil(width / 36)
    else:
        memories = math.ceil(depth / 1024) * math.ceil(width / 18)
    return round(lut), memories


def main() -> None:
    """Synthesize each layer and print the table."""
    options = arguments("LUTs of layers")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for inputs, outputs, pe, simd in LAYERS[-1:] if options.quick else LAYERS:
            progress(f"synthesizing {inputs} to {outputs}")
            model = qonnx_core.cleanup_model(layer(inputs, outputs))
            form = to_integer_form(model, {"global_in": Grid.parse("UINT2")}, quantizer=BACKEND.quantizer)
            folding = {"Defaults": {}, "MVAU_0": {"PE": pe, "SIMD": simd}}
            design = BACKEND.plan(form, Target(), {"folding": folding})
            here = Path(folder) / f"{inputs}_{outputs}"
            component = BACKEND.emit(design, here / "component", "layer")
            estimate = BACKEND.estimate(design)
            found = synthesize(component, "xc7", here / "synthesis", timeout=400)
            lut, memories = finn_estimate(inputs, outputs, pe, simd)
            rows.append(
                (
                    f"{inputs} to {outputs}, PE {pe}, SIMD {simd}",
                    str(estimate.cycles),
                    f"{lut} / {memories}",
                    f"{estimate.lut} / {estimate.bram18}",
                    f"{found.lut} / {found.bram18} / {found.ff}",
                    f"{found.lut / lut:.2f}",
                )
            )
    columns = (
        "layer, 1-bit weights",
        "cycles",
        "FINN's estimate LUT / BRAM18",
        "our estimate",
        "our synthesis LUT / BRAM18 / FF",
        "LUT ratio",
    )
    note = "Synthesized by Yosys for 7-series. FINN's numbers are its own formula; nothing of FINN was built here."
    distributions = ("backend-finn", "qonnx-core", "pyosys")
    Result("resources", "Layers of TFC", columns, rows, distributions, note).show(options)


if __name__ == "__main__":
    main()
