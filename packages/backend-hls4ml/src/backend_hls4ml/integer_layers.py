"""hls4ml's extension API: integer layers with exact types, registered once for the Vitis and the Vivado back end.

Imported only when a project is made, because the classes derive from hls4ml's.
"""

from __future__ import annotations

from functools import cache

from hls4ml.backends import get_backend
from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
from hls4ml.model.attributes import Attribute, TypeAttribute, WeightAttribute
from hls4ml.model.layers import Layer, register_layer

from backend_hls4ml.component import package_file

HEADER = "nnet_integer_layers.h"
BACKENDS = ("Vitis", "Vivado")


class _IntegerLayer(Layer):  # type: ignore[misc]
    """A layer whose output type is given by ``output_precision`` and whose weights by ``<name>_precision``."""

    _weights: tuple[str, ...] = ()

    def initialize(self) -> None:
        """Declare the output and the weights."""
        self.add_output_variable([self.get_attr("n_out")], precision=self.get_attr("output_precision"))
        for name in self._weights:
            self.add_weights_variable(
                name=name,
                var_name=f"{name}{{index}}",
                data=self.get_attr(f"{name}_data"),
                type_name=f"{name}{{index}}_t",
                precision=self.get_attr(f"{name}_precision"),
            )


class MultiThreshold(_IntegerLayer):
    """``base + step * #{k : x >= threshold[channel, k]}``."""

    _weights = ("threshold",)
    _expected_attributes = (
        Attribute("n_in"),
        Attribute("n_channels"),
        Attribute("n_thr"),
        Attribute("base"),
        Attribute("step"),
        WeightAttribute("threshold"),
        TypeAttribute("threshold"),
    )


class IntegerRequantize(_IntegerLayer):
    """``clip(round(x / 2**shift), lo, hi)``."""

    _expected_attributes = (
        Attribute("n_in"),
        Attribute("shift"),
        Attribute("rounding", value_type=str),
        Attribute("lo"),
        Attribute("hi"),
        Attribute("wide_bits"),
    )


class IntegerAffine(_IntegerLayer):
    """``factor[channel] * x + constant[channel]``."""

    _weights = ("factor", "constant")
    _expected_attributes = (
        Attribute("n_in"),
        Attribute("n_channels"),
        WeightAttribute("factor"),
        WeightAttribute("constant"),
        TypeAttribute("factor"),
        TypeAttribute("constant"),
    )


class LabelSelect(_IntegerLayer):
    """The indices of the ``k`` largest (or smallest) elements, ties to the lowest index."""

    _expected_attributes = (Attribute("n_in"), Attribute("k"), Attribute("largest"))


_CONFIGS = {
    MultiThreshold: """struct config{index} : nnet::multithreshold_config {{
    static const unsigned n_in = {n_in};
    static const unsigned n_channels = {n_channels};
    static const unsigned n_thr = {n_thr};
    static const int base = {base};
    static const int step = {step};
    typedef {threshold_t.name} threshold_t;
}};\n""",
    IntegerRequantize: """struct config{index} : nnet::requantize_config {{
    static const unsigned n_in = {n_in};
    static const int shift = {shift};
    static const nnet::integer_rounding rounding = nnet::{rounding};
    static const int lo = {lo};
    static const int hi = {hi};
    typedef ap_int<{wide_bits}> wide_t;
}};\n""",
    IntegerAffine: """struct config{index} : nnet::integer_affine_config {{
    static const unsigned n_in = {n_in};
    static const unsigned n_channels = {n_channels};
    typedef {factor_t.name} factor_t;
    typedef {constant_t.name} constant_t;
}};\n""",
    LabelSelect: """struct config{index} : nnet::label_select_config {{
    static const unsigned n_in = {n_in};
    static const unsigned k = {k};
    static const bool largest = {largest};
}};\n""",
}
_FUNCTIONS = {
    MultiThreshold: "multithreshold",
    IntegerRequantize: "requantize",
    IntegerAffine: "integer_affine",
    LabelSelect: "label_select",
}


def _templates(layer: type[_IntegerLayer]) -> tuple[type[LayerConfigTemplate], type[FunctionCallTemplate]]:
    class ConfigTemplate(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(layer)

        def format(self, node: Layer) -> str:
            return _CONFIGS[layer].format(**self._default_config_params(node))

    class CallTemplate(FunctionCallTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(layer, include_header=[f"nnet_utils/{HEADER}"])

        def format(self, node: Layer) -> str:
            params = self._default_function_params(node)
            arguments = [params["input"], params["output"], *(node.get_weights(w).name for w in layer._weights)]
            return (
                f"nnet::{_FUNCTIONS[layer]}<{params['input_t']}, {params['output_t']}, {params['config']}>"
                f"({', '.join(arguments)});"
            )

    return ConfigTemplate, CallTemplate


@cache
def register() -> None:
    """Make the layers known to hls4ml and to both back ends; a second call does nothing."""
    for layer in _CONFIGS:
        register_layer(layer.__name__, layer)
    for name in BACKENDS:
        backend = get_backend(name)
        for layer in _CONFIGS:
            for template in _templates(layer):
                backend.register_template(template)
        backend.register_source(str(package_file("hls", HEADER).resolve()))
