"""Names, memory files and library sources for generated SystemVerilog."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qonnx_core.eda.sv import check_hex, rtl_library, rtl_source, sv_identifier, write_hex
from qonnx_core.errors import InvalidInput


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fc1", "fc1"),
        ("conv2/weight_quant", "conv2_weight_quant"),
        ("1x1", "n_1x1"),
        ("module", "n_module"),
        ("", "n"),
        ("a;\nendmodule", "a_endmodule"),
        ("__x__", "x"),
    ],
)
def test_a_name_becomes_an_identifier(name: str, expected: str) -> None:
    assert sv_identifier(name) == expected


@settings(deadline=None)
@given(st.text(max_size=200), st.sets(st.text(max_size=5), max_size=5))
def test_any_name_becomes_an_identifier_that_is_free(name: str, taken: set[str]) -> None:
    made = sv_identifier(name, taken)
    assert made.isascii()
    assert made.isidentifier()
    assert "__" not in made
    assert made not in taken
    assert sv_identifier(made) == made


def test_a_taken_name_gets_a_number() -> None:
    assert sv_identifier("a", {"a", "a_2"}) == "a_3"


def test_words_are_written_and_counted(tmp_path: Path) -> None:
    path = write_hex(tmp_path / "w.hex", [0, 1, 511, -1, -256], 9)
    assert path.read_text() == "000\n001\n1ff\n1ff\n100\n"
    assert check_hex(path) == 5
    assert write_hex(tmp_path / "wide.hex", [(1 << 784) - 1], 784).read_text() == "f" * 196 + "\n"


@pytest.mark.parametrize(
    ("words", "width", "message"),
    [([2], 1, "word 0 is 2; expected a value of 1 bits"), ([], 4, "found no words"), ([0], 0, "word width of 0")],
)
def test_words_that_do_not_fit_are_refused(tmp_path: Path, words: list[int], width: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        write_hex(tmp_path / "w.hex", words, width)


def test_a_memory_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "w.hex"
    path.write_text("// a comment\n00 /* two */ ff\n@8 12\n")
    assert check_hex(path) == 3
    for text, message in (("", "found no words"), ("0xff\n", "word 0 is '0xff'")):
        path.write_text(text)
        with pytest.raises(InvalidInput, match=message):
            check_hex(path)
    with pytest.raises(InvalidInput, match="cannot be read as a memory file"):
        check_hex(tmp_path / "absent.hex")


def test_an_unknown_library_module_is_refused() -> None:
    assert rtl_library().is_dir()
    with pytest.raises(InvalidInput, match="found no module 'nothing'; expected one of stream_dwc"):
        rtl_source("nothing")
