"""Names that come from a model file never lead out of the folder that is written to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

import qonnx_core
from qonnx_core.analyses.plots import file_names
from qonnx_core.errors import InvalidInput
from qonnx_core.formats.reader import from_proto
from qonnx_core.partition.nested import extract_partitions, insert_partitions

HOSTILE = [
    *("../../evil", "/etc/evil", "a\\..\\b", "C:evil", "..", ".", "", "\0", "a\nb", "-rf", "~", "$(x)", "n" * 4000),
    *("%n", "名"),
]


def model() -> ir.Model:
    """Return a chain of nodes whose names, and those of their tensors, are hostile."""
    lines = " ".join(f"t{i + 1} = Relu(t{i})" for i in range(len(HOSTILE)))
    found = from_proto(onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 18]> g (float[1, 4] t0) => (float[1, 4] t{len(HOSTILE)}) {{ {lines} }}'
    ))  # fmt: skip
    for node, name in zip(found.graph, HOSTILE, strict=True):
        node.name = name
        node.outputs[0].name = name or "empty"
    return found


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_plots_have_names_of_their_own_inside_the_folder(tmp_path: Path) -> None:
    names = file_names(HOSTILE)
    assert len({name.lower() for name in names.values()}) == len(HOSTILE)
    for name in names.values():
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()
        assert len(name) < 200
        assert not name.startswith((".", "-"))
        (tmp_path / name).touch()


def test_a_part_of_a_hostile_label_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for label in HOSTILE:
        if label == "-rf":
            continue
        with pytest.raises(InvalidInput, match="label"):
            extract_partitions(model(), lambda node, label=label: label, inside)
    assert files_below(tmp_path) == []


def test_nodes_of_hostile_names_can_be_parts(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    source = model()
    cut = extract_partitions(source, lambda node: "part", inside)
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)] == ["inside/part.onnx"]
    x = np.asarray([[-1, 0, 1, 2]], np.float32)
    for found in (cut, insert_partitions(cut)):
        compiled = qonnx_core.compile_model(found)
        (result,) = compiled.run({compiled.input_names[0]: x}).values()
        np.testing.assert_array_equal(result, [[0, 0, 1, 2]])


def test_saving_a_model_of_hostile_names_writes_one_file(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    source = model()
    source.graph.name = "../../evil"
    qonnx_core.save(source, inside / "m.onnx", with_functions=True)
    qonnx_core.save(qonnx_core.cleanup_model(source), inside / "c.onnx")
    assert {path.name for path in files_below(tmp_path)} == {"m.onnx", "c.onnx"}
