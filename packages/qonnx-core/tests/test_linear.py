"""Whatever is done with a model takes work in proportion to its graph; passes are in passes/test_every_pass.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.analyses.cost import inference_cost
from qonnx_core.analyses.ranges import tensor_ranges
from qonnx_core.analyses.topology import topology
from qonnx_core.formats.convert_opset import convert_opset
from qonnx_core.formats.from_qcdq import from_qcdq
from qonnx_core.formats.functions import add_functions
from qonnx_core.formats.plain import lower_to_plain_onnx
from qonnx_core.formats.reader import from_proto
from qonnx_core.formats.to_qcdq import to_qcdq
from qonnx_core.formats.writer import serialize
from qonnx_core.ir.grid import Grid
from qonnx_core.ir.verify import verify
from qonnx_core.passes.streamline import to_integer_form
from qonnx_core.testing.deep_network import deep_network
from qonnx_core.testing.random_mlp import MlpShape, random_mlp
from qonnx_core.testing.work import check_linear
from qonnx_core.verify.models import compare_models

BATCH = {"x": np.zeros((1, 2, 4, 4), np.float32)}
WORK: dict[str, Callable[[ir.Model], object]] = {
    "load": lambda model: from_proto(ir.to_proto(model)),
    "verify": verify,
    "clean up": qonnx_core.cleanup_model,
    "compile": qonnx_core.compile_model,
    "write": serialize,
    "cost": inference_cost,
    "topology": topology,
    "ranges": lambda model: tensor_ranges(model, {}),
    "compare": lambda model: compare_models(model, model, BATCH),
    "to plain ONNX": lower_to_plain_onnx,
    "add functions": add_functions,
    "to QCDQ": to_qcdq,
    "from QCDQ": lambda model: from_qcdq(to_qcdq(model).model),
    "to opset 18": lambda model: convert_opset(model, 18),
}


@pytest.mark.parametrize("name", WORK)
def test_work_is_linear_in_the_graph(name: str) -> None:
    check_linear(lambda blocks: partial(WORK[name], deep_network(blocks)), 6)


def test_the_integer_form_takes_linear_work() -> None:
    def work(layers: int) -> Callable[[], object]:
        model = qonnx_core.cleanup_model(random_mlp(1, MlpShape((4,) * layers)))
        return partial(to_integer_form, model, {"global_in": Grid.parse("INT4")})

    check_linear(work, 6)
