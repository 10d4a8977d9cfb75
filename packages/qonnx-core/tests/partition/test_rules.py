"""Rules are read from YAML; what is wrong in them is said with near matches."""

from __future__ import annotations

import pytest

from qonnx_core.errors import InvalidInput
from qonnx_core.partition import HOST, Rules

EXAMPLE = """
default: finn
rules:
  - {match: {name: "MatMul_*"}, backend: hls4ml}
  - {match: {op_type: Softmax}, backend: host}
  - {match: {from: Quant_3_out0, to: global_out}, backend: finn}
"""


def test_a_file_gives_its_rules_in_order(tmp_path):
    path = tmp_path / "split.yaml"
    path.write_text(EXAMPLE)
    rules = Rules.from_file(path)
    assert rules.default == "finn"
    assert [str(rule.match) for rule in rules.rules] == [
        "name: MatMul_*",
        "op_type: Softmax",
        "from: Quant_3_out0, to: global_out",
    ]
    assert [rule.backend for rule in rules.rules] == ["hls4ml", HOST, "finn"]


def test_rules_for_one_backend_and_for_a_split():
    assert Rules.single("finn") == Rules.from_text("default: finn")
    split = Rules.split_after("t", "finn", "hls4ml")
    assert split == Rules.from_text("default: hls4ml\nrules: [{match: {to: t}, backend: finn}]")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defualt: finn", r"split: defualt: unknown key 'defualt'; expected default or rules. Did you mean default\?"),
        ("rules: []", r"split: default: the key is missing; expected a value"),
        ("default: 3", r"split: default: Input should be a valid string \(found 3\)"),
        ("default: [a", r"split: it is no YAML or JSON \(.*\); expected keys default and rules"),
        ("- finn", r"split: found list; expected the keys default and rules"),
        ("", r"split: found NoneType; expected the keys default and rules"),
        (
            "default: a\nrules: [{match: {name: a}, backnd: b}]",
            r"rules.1.backnd: unknown key 'backnd'; expected match or",
        ),
        (
            "default: a\nrules: [{match: {optype: MatMul}, backend: b}]",
            r"rules.1.match.optype: unknown key 'optype'; expected name or op_type or from or to. Did you",
        ),
        (
            "default: a\nrules: [{match: {}, backend: b}]",
            r"rules.1.match: match holds 0 of the three kinds; expected exactly",
        ),
        (
            "default: a\nrules: [{match: {name: x, to: y}, backend: b}]",
            r"rules.1.match: match holds 2 of the three kinds; expected exactly one: name, or op_type, or from and to",
        ),
        ("default: a\nrules: [{match: {start: x}, backend: b}]", r"unknown key 'start'"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(InvalidInput, match=message):
        Rules.from_text(text, source="split")


def test_a_yaml_tag_is_not_executed():
    with pytest.raises(InvalidInput, match="it is no YAML"):
        Rules.from_text("default: !!python/object/apply:os.getcwd []")


def test_lists_nested_without_end_are_refused():
    with pytest.raises(InvalidInput, match="split: it is no YAML"):
        Rules.from_text("[" * 5000, source="split")


@pytest.mark.parametrize("end", ["default: *a9", "rules: [{match: {name: *a9}, backend: finn}]"])
def test_aliases_of_aliases_are_refused(end):
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(InvalidInput, match="split: holds more than 1000000 values"):
        Rules.from_text("\n".join([*lines, end]), source="split")
    with pytest.raises(InvalidInput, match="split: holds more than 1000000 values"):
        Rules.from_text("default: &a [*a]", source="split")


def test_a_long_value_is_shown_in_part():
    with pytest.raises(InvalidInput) as error:
        Rules.from_text(f"default: [{'1, ' * 100000}]", source="split")
    assert len(str(error.value)) < 400


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InvalidInput, match=r"nothing.yaml: cannot be read as rules"):
        Rules.from_file(tmp_path / "nothing.yaml")


def test_backends_are_checked_against_those_that_exist():
    rules = Rules.from_text("default: finn\nrules: [{match: {name: a}, backend: hls4lm}]")
    with pytest.raises(InvalidInput, match=r"rule 1: there is no backend 'hls4lm'; expected .*Did you mean hls4ml\?"):
        rules.require_backends(["finn", "hls4ml"])
    with pytest.raises(InvalidInput, match=r"no backend 'finn'; expected host. No backend is installed; install"):
        rules.require_backends([])
    with pytest.raises(InvalidInput, match=r"default: there is no backend 'vitis'; expected finn or host"):
        Rules.single("vitis").require_backends(["finn"])
