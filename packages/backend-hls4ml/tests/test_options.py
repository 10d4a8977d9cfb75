from __future__ import annotations

import pytest

from backend_hls4ml.options import Options, parse_options
from qonnx_core.errors import InvalidInput


def test_no_options_are_the_defaults():
    assert parse_options(None) == Options()


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInput, match=r"found 'reuse'; expected one of .*reuse_factor"):
        parse_options({"reuse": 2})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("hls_backend", "Quartus", "hls_backend is 'Quartus'; expected one of Vitis, Vivado"),
        ("reuse_factor", 0, "reuse_factor is 0; expected a whole number of at least 1"),
        ("reuse_factor", 1.5, "expected a whole number"),
        ("latency_cutoff", -1, "expected a number of at least 0"),
        ("optimize", 1, "optimize is 1; expected true or false"),
        ("seed", True, "expected a whole number"),
    ],
)
def test_a_wrong_value_is_refused(option, value, message):
    with pytest.raises(InvalidInput, match=message):
        parse_options({option: value})


def test_whole_numbers_serve_as_numbers():
    assert parse_options({"latency_cutoff": 4}).latency_cutoff == 4
