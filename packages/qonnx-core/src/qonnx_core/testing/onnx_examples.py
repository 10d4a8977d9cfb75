"""The examples of every standard operator that come with the ``onnx`` package, and what onnxruntime makes of them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from qonnx_core.execute.session import RUNTIME_ERRORS

Array = NDArray[Any]
_ERRORS: tuple[type[Exception], ...] = (*RUNTIME_ERRORS, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class Example:
    """A model, mostly of one node, and arrays for its inputs."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, Array]

    def with_parameters(self, running: Collection[str]) -> onnx.ModelProto:
        """Return the model in which all inputs but these are parameters with the arrays of the example."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        infos = {info.name: info for info in self.model.graph.input}
        del model.graph.input[:]
        model.graph.input.extend(infos[name] for name in running)
        for name, array in self.inputs.items():
            if name not in running:
                model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return model


@functools.cache
def onnx_examples() -> tuple[Example, ...]:
    """Return the examples whose inputs are arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = []
        for case in collect_testcases(None):
            names, arrays = [info.name for info in case.model.graph.input], case.data_sets[0][0]
            if len(names) == len(arrays) and all(isinstance(array, np.ndarray) for array in arrays):
                found.append(Example(case.name, case.model, dict(zip(names, arrays, strict=True))))
    return tuple(found)


class WithoutOptimizations:
    """A session of onnxruntime that computes the operators of a model one by one."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            self._session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        except RUNTIME_ERRORS:
            self._session = None

    def run(self, inputs: Mapping[str, Array]) -> list[Any] | None:
        """Return the outputs, or None where onnxruntime computes nothing."""
        if self._session is None:
            return None
        try:
            return list(self._session.run(None, dict(inputs)))
        except _ERRORS:
            return None
