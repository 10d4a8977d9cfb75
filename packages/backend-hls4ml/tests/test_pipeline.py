from __future__ import annotations

import re
import subprocess
import sys

import pytest

from backend_hls4ml.backend import _tensors
from backend_hls4ml.distributed import trace_network
from backend_hls4ml.options import Options
from backend_hls4ml.pipeline import build_pipeline, latency_cutoff, licence_notice, verilog

pytest.importorskip("alkaid", reason="alkaid is not installed")


def pipeline_of(form, cutoff=8.0, **options):
    layers = form.layers()
    return build_pipeline(trace_network(*_tensors(form, layers), layers, Options(**options)), cutoff)


def test_every_module_carries_the_prefix(networks):
    form = networks.mlp(1, [12, 8, 6], activation="UINT4", style="shift", weights="4")
    text = verilog(pipeline_of(form), "part0_pipeline", "part0")
    modules = re.findall(r"^\s*module\s+(\w+)", text, re.MULTILINE)
    assert "part0_pipeline" in modules
    assert all(module.startswith("part0_") for module in modules)
    instances = re.findall(r"\b(\w+)\s+(?:#\s*\([^)]*\)\s*)?(?:op_\d+|_inst_\w+)\s*\(", text)
    assert set(instances) <= set(modules)
    assert "`timescale" not in text


def test_look_up_tables_carry_the_prefix(networks):
    form = networks.mlp(1, [12, 8, 6], activation="UINT5", weights="2")
    text = verilog(pipeline_of(form, threshold_form="table"), "a_pipeline", "a")
    tables = [m for m in re.findall(r"^\s*module\s+(\w+)", text, re.MULTILINE) if "table" in m]
    assert tables
    assert all(module.startswith("a_table_") for module in tables)


def test_a_shorter_clock_makes_more_stages(networks):
    form = networks.mlp(1, [16, 12, 6], weights="4")
    assert pipeline_of(form, 2).stages > pipeline_of(form, 8).stages
    assert latency_cutoff(10.0) == 8.0
    assert latency_cutoff(2.5) == 2.0
    assert latency_cutoff(0.5) == 1.0
    assert latency_cutoff(10.0, wanted=3) == 3


def test_another_process_writes_the_same_bytes(networks, tmp_path):
    form = networks.mlp(6, [20, 10, 6], weights="4", style="shift", activation="UINT4")
    text = verilog(pipeline_of(form), "p_pipeline", "p")
    assert verilog(pipeline_of(form), "p_pipeline", "p") == text
    script = (
        "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('made', sys.argv[1])\n"
        "made = importlib.util.module_from_spec(spec); sys.modules['made'] = made; spec.loader.exec_module(made)\n"
        "spec = importlib.util.spec_from_file_location('tested', sys.argv[2])\n"
        "tested = importlib.util.module_from_spec(spec); spec.loader.exec_module(tested)\n"
        "form = made.random_mlp(6, [20, 10, 6], weights='4', style='shift', activation='UINT4')\n"
        "open(sys.argv[3], 'w').write(tested.verilog(tested.pipeline_of(form), 'p_pipeline', 'p'))\n"
    )
    out = tmp_path / "other.v"
    conftest = __file__.replace("test_pipeline.py", "conftest.py")
    subprocess.run([sys.executable, "-c", script, conftest, __file__, str(out)], check=True, timeout=120)
    assert out.read_text() == text


def test_the_licence_of_the_tool_goes_with_its_files():
    files = licence_notice()
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in files["LICENSE.alkaid"]
    assert "LGPL-3.0-or-later" in files["NOTICE.alkaid"]
    assert "were changed" in files["NOTICE.alkaid"]
