"""Annotations are read by a grammar, written as other tools read them, and follow the value."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from qonnx_core.errors import InvalidModel
from qonnx_core.ir import annotations
from qonnx_core.ir.datatypes import DataType


def annotated(**entries: str) -> ir.Value:
    value = ir.val("t")
    value.meta["quant_parameter_tensor_names"] = entries
    return value


def test_what_is_set_is_read_back_and_can_be_dropped() -> None:
    value = ir.val("t")
    assert annotations.get_datatype(value) is None
    annotations.set_datatype(value, DataType.BIPOLAR)
    annotations.set_layout(value, ("N", "H", "W", "C"))
    annotations.set_sparsity(value, {"dw": {"kernel_shape": [3, 3]}})
    assert annotations.get_datatype(value) == DataType.BIPOLAR
    assert annotations.get_layout(value) == ("N", "H", "W", "C")
    assert annotations.get_sparsity(value) == {"dw": {"kernel_shape": [3, 3]}}
    annotations.set_datatype(value, None)
    annotations.set_layout(value, None)
    annotations.set_sparsity(value, None)
    assert not value.meta.get("quant_parameter_tensor_names")


def test_an_unknown_layout_is_none() -> None:
    assert annotations.get_layout(annotated(tensor_layout="[]")) is None


@pytest.mark.parametrize("text", ["N, C", "['N', 1]", "['NC']", "[__import__('os')]", "['N' 'C']", "[,]"])
def test_a_layout_that_is_no_list_of_letters_is_refused(text: str) -> None:
    with pytest.raises(InvalidModel, match="tensor t: annotation tensor_layout"):
        annotations.get_layout(annotated(tensor_layout=text))


@pytest.mark.parametrize("text", ["[1]", "open('x')", "{", "{'a': open('x')}"])
def test_a_sparsity_that_is_no_dictionary_is_refused(text: str) -> None:
    with pytest.raises(InvalidModel, match="tensor t: annotation tensor_sparsity"):
        annotations.get_sparsity(annotated(tensor_sparsity=text))


def test_an_unknown_data_type_is_refused() -> None:
    with pytest.raises(InvalidModel, match="tensor t: annotation finn_datatype: data type: found 'INT'"):
        annotations.get_datatype(annotated(finn_datatype="INT"))


def test_annotations_of_a_removed_value_go_to_the_one_that_stays() -> None:
    old, new = annotated(finn_datatype="INT4", tensor_layout="['N', 'C']"), annotated(finn_datatype="INT2")
    annotations.merge_annotations(old, new)
    assert annotations.get_datatype(new) == DataType.parse("INT2")
    assert annotations.get_layout(new) == ("N", "C")
