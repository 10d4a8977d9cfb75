"""All that is registered keeps its contract: passes here, the others by tests that are looked for."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from qonnx_core import cleanup_model, compile_model, plugins
from qonnx_core.backend import Backend, Frontend
from qonnx_core.formats.reader import from_proto
from qonnx_core.ops.registry import default_registry
from qonnx_core.passes.append_argmax import AppendArgMax
from qonnx_core.passes.base import Pass
from qonnx_core.passes.catalog import catalog
from qonnx_core.passes.infer_shapes import InferShapes
from qonnx_core.passes.name_everything import NameEverything
from qonnx_core.testing.pass_contract import check_pass
from qonnx_core.testing.random_mlp import MlpShape, random_mlp
from road import ROOT

OURS = {"qonnx-core", "export-brevitas", "ingest-qkeras", "backend-finn", "backend-hls4ml"}
CHANGES_THE_OUTPUT = {"AppendArgMax", "InsertTopK"}  # it is there to change what comes out


def passes() -> dict[str, type]:
    """Return the class of every pass, ours and those of plug-ins, by its name."""
    return {entry.factory.__name__: entry.factory for entry in catalog().values()}


def mixed_graph() -> ir.Model:
    """Return a graph in which almost every pass finds something to do."""
    text = """<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>
    g (float[1, 4] x) => (float[1, 3] y, float[1, 3] v)
    <float[3, 4] w = {-3, 2, 5, -1, 4, -7, 6, 1, 2, -2, 3, 9}, float s = {0.5}, float[1] z = {0}, float b = {4},
     float k = {1}, int64[2] r = {1, -1}, float[3] c = {0.5, -1, 2}>
    { i = Identity(x) f = Reshape(i, r) q = qonnx.custom_op.general.Quant(w, s, z, b) t = Transpose<perm = [1, 0]>(q)
      n = Neg(k) m = Mul(f, n) a = qonnx.custom_op.general.Quant(m, s, z, b) y = MatMul(a, t) unused = Exp(a)
      v = Gemm<transB = 1>(a, q, c) }"""
    model = from_proto(onnx.parser.parse_model(text))
    InferShapes().run(model)
    return model


GRAPHS = {
    "mixed": mixed_graph,
    "mlp": lambda: random_mlp(1, MlpShape(batch_norm=True, per_channel=True, batch=1)),
    "clean mlp": lambda: cleanup_model(random_mlp(2, MlpShape(residual=True, widths=(6, 6, 6, 4)))),
}


@pytest.mark.parametrize("graph", list(GRAPHS))
@pytest.mark.parametrize("name", sorted(passes().keys() - CHANGES_THE_OUTPUT))
def test_every_pass_keeps_the_contract(name: str, graph: str) -> None:
    kind = passes()[name]
    model = GRAPHS[graph]()
    step: Pass = kind()
    (source,) = model.graph.inputs
    assert source.shape is not None
    x = np.random.default_rng(0).normal(0, 1, (1, *list(source.shape)[1:])).astype(np.float32)
    check_pass(step, model, {source.name or "": x}, renames=kind is NameEverything)


def test_the_label_is_the_index_of_the_largest_logit_and_appending_it_again_does_nothing() -> None:
    model = cleanup_model(random_mlp(4, MlpShape()))
    x = np.random.default_rng(0).normal(0, 1, (50, 6)).astype(np.float32)
    probabilities = compile_model(model).run({"global_in": x})["global_out"]
    assert AppendArgMax().run(model) == 1
    assert AppendArgMax().run(model) == 0
    labels = compile_model(model).run({"global_in": x})["global_out"]
    np.testing.assert_array_equal(labels[:, 0], probabilities.argmax(1))


def test_every_operator_runs_its_contract_in_the_package_of_the_core() -> None:
    path = ROOT / "packages" / "qonnx-core" / "tests" / "ops" / "test_op_contract.py"
    spec = importlib.util.spec_from_file_location("core_op_contract", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    covered = {type(example.op) for example in (*module.QUANTS, *module.OTHERS)}
    assert covered >= {op for op in default_registry() if op.__module__.startswith("qonnx_core.")}


def contract_classes(base: str) -> set[str]:
    """Return the ``entry`` of every test class in the packages that derives from a contract."""
    found = set()
    for path in (ROOT / "packages").glob("*/tests/**/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ClassDef) or base not in (ast.unparse(parent) for parent in node.bases):
                continue
            for line in node.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "entry":
                    found.add(ast.literal_eval(line.value))
    return found


def test_every_front_end_runs_its_contract_in_its_own_package() -> None:
    assert set(plugins.names("frontends")) == contract_classes("FrontendContract")


def test_every_backend_is_driven_through_its_contract() -> None:
    """The test with the simulator takes every registered backend; this looks that it does."""
    text = (ROOT / "integration_tests" / "simulator" / "test_backend_contract.py").read_text("utf-8")
    assert 'plugins.names("backends")' in text
    assert "check_backend(" in text
    assert set(plugins.names("backends")) >= {"finn", "hls4ml"}


@pytest.mark.parametrize(("kind", "protocol"), [("frontends", Frontend), ("backends", Backend)])
def test_every_entry_point_leads_to_an_object_of_its_name(kind: str, protocol: type) -> None:
    entries = importlib.metadata.entry_points(group=f"qonnx_core.{kind}")
    assert {entry.name for entry in entries} == set(plugins.names(kind))
    for name in plugins.names(kind):
        plugin = plugins.load(kind, name)
        assert isinstance(plugin, protocol)
        assert plugin.name == name


def test_our_plug_ins_come_from_our_packages() -> None:
    for kind in ("frontends", "backends", "ops", "passes"):
        for entry in importlib.metadata.entry_points(group=f"qonnx_core.{kind}"):
            assert entry.dist is not None
            if entry.name in ("finn", "hls4ml", "brevitas", "qkeras"):
                assert entry.dist.name in OURS
