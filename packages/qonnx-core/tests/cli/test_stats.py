"""`qonnx stats`: statistics of tensors on the command line, and plots whose file names are safe."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from qonnx_core import load, save
from qonnx_core.analyses.plots import file_names, write_plots
from qonnx_core.analyses.statistics import tensor_statistics
from qonnx_core.cli.app import app
from qonnx_core.errors import InvalidInput, ToolMissing
from qonnx_core.testing.random_mlp import MlpShape, random_mlp

X = np.random.default_rng(0).integers(0, 4, (20, 6)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    save(random_mlp(3, MlpShape(widths=(6, 8, 5), tail=False)), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, x=X)
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_table_and_json_say_the_same(model: Path, data: Path) -> None:
    code, out, _ = run("stats", model, "--data", data, "--json", "--batch-size", 3)
    found = json.loads(out)
    assert (code, found["samples"]) == (0, 20)
    rows = {row["name"]: row for row in found["tensors"]}
    assert rows["global_in"]["max"] == 3
    assert rows["global_in"]["levels"] == [[k, int((k == X).sum())] for k in range(4)]
    assert len(rows["global_in"]["channels"]["mean"]) == 6
    assert sum(rows["global_out"]["histogram"]["counts"]) == 100
    quantizer = next(row for row in found["tensors"] if row["op_type"] == "Quant")
    assert quantizer["saturation"]["at_high"] >= 0
    code, out, _ = run("stats", model, "--data", data)
    assert code == 0
    assert f"{len(rows)} tensors over 20 samples" in out


def test_tensors_are_chosen_by_pattern(model: Path, data: Path) -> None:
    found = json.loads(run("stats", model, "--data", data, "--json", "--tensor", "global_*")[1])
    assert [row["name"] for row in found["tensors"]] == ["global_in", "global_out"]
    code, _, err = run("stats", model, "--data", data, "--tensor", "nothing")
    assert (code, "computes none of this name" in err) == (1, True)


def test_the_names_of_the_file_are_understood(model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    for node in proto.graph.node:
        node.input[:] = ["pixels" if name == "global_in" else name for name in node.input]
    proto.graph.input[0].name = "pixels"
    onnx.save(proto, model)
    for name in ("pixels", "global_in", "x"):
        np.savez(tmp_path / "d.npz", **{name: X, "other": X[:2]})
        assert run("stats", model, "--data", tmp_path / "d.npz", "--tensor", "global_in")[0] == 0
    found = json.loads(run("stats", model, "--data", tmp_path / "d.npz", "--as-stored", "--json")[1])
    assert found["tensors"][0]["name"] == "pixels"


def test_plots_are_written_for_every_tensor(model: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    code, out, _ = run(
        "stats", model, "--data", data, "--plots", tmp_path / "a" / "plots", "--json", "--tensor", "global_*"
    )
    assert code == 0
    files = [Path(row["plot"]) for row in json.loads(out)["tensors"]]
    assert [file.name for file in files] == ["global_in.png", "global_out.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    before = [file.read_bytes() for file in files]
    run("stats", model, "--data", data, "--plots", tmp_path / "a" / "plots", "--tensor", "global_*")
    assert [file.read_bytes() for file in files] == before


def test_names_become_safe_files() -> None:
    names = ["plain_1", "../../etc/passwd", "a/b", "a_b", "A_B", "", ".hidden", "x" * 200, "$x^2$", "a\x00b", "tensör"]
    found = file_names(names)
    assert found["plain_1"] == "plain_1.png"
    assert found["a_b"] == "a_b.png"
    assert len({name.lower() for name in found.values()}) == len(names)
    for file in found.values():
        assert Path(file).name == file
        assert file[0].isalnum()
        assert len(file) < 110
        assert file.isascii()


def test_odd_names_and_empty_channels_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    x = np.float32([[np.nan, 1], [np.nan, -1], [np.inf, 0.5]])
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[N, 2] x) => (float[N, 2] y) { y = Neg(x) }'
    )
    proto.graph.node[0].output[0] = proto.graph.output[0].name = "../$\\frac{"
    onnx.save(proto, tmp_path / "m.onnx")
    statistics = tensor_statistics(load(tmp_path / "m.onnx"), x)
    written = write_plots(statistics, tmp_path / "plots")
    assert all(path.parent == tmp_path / "plots" and path.stat().st_size > 1000 for path in written.values())
    with pytest.raises(InvalidInput, match="cannot be made"):
        write_plots(statistics, tmp_path / "m.onnx" / "plots")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1.5e308, np.nan, np.inf, 0.0])
@pytest.mark.parametrize("count", [2, 400])
def test_any_numbers_are_drawn(scale: float, count: int, tmp_path: Path) -> None:
    """A few levels and many numbers; all the same, none finite, and as large as float64 goes."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (double[N, 2] x) => (double[N, 2] y) { y = Neg(x) }'
    )
    onnx.save(proto, tmp_path / "m.onnx")
    numbers = np.linspace(-1, 1, 2 * count).reshape(-1, 2)
    x = numbers * scale if np.isfinite(scale) else np.full_like(numbers, scale)
    written = write_plots(tensor_statistics(load(tmp_path / "m.onnx"), x), tmp_path / "plots")
    assert all(path.stat().st_size > 1000 for path in written.values())


def test_without_matplotlib_the_message_says_what_to_install(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name.startswith(("matplotlib", "netron")):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    code, _, err = run("stats", model, "--data", data, "--plots", tmp_path / "plots")
    assert (code, "Install qonnx-core[plots]" in err) == (4, True)
    with pytest.raises(ToolMissing, match="matplotlib is not installed"):
        write_plots({}, tmp_path)
    code, _, err = run("view", model, "--no-browser")
    assert (code, "Install qonnx-core[view]" in err) == (4, True)


def test_data_that_do_not_fit_are_one_sentence(model: Path, data: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "nan.npz", x=np.full((2, 6), np.nan, np.float32))
    code, _, err = run("stats", model, "--data", tmp_path / "nan.npz")
    assert (code, "sample 0 holds NaN" in err) == (1, True)
    np.savez(tmp_path / "none.npz", x=X[:0])
    code, _, err = run("stats", model, "--data", tmp_path / "none.npz")
    assert (code, "samples: found none" in err) == (1, True)
    code, _, err = run("stats", "-", "--data", "-")
    assert (code, "stands for several" in err) == (1, True)


def test_the_table_counts_what_is_no_number(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.npz"
    odd = X.copy()
    odd[0, :3] = np.nan, np.inf, -np.inf
    np.savez(path, x=odd)
    code, out, _ = run("stats", model, "--data", path, "--allow-nan", "--tensor", "global_in")
    assert code == 0
    assert "NaN" in out
    assert "infinite" in out
    assert "0.83%" in out  # 1 of 120
    assert "1.67%" in out
    np.savez(path, x=X)
    assert "NaN" not in run("stats", model, "--data", path, "--tensor", "global_in")[1]
