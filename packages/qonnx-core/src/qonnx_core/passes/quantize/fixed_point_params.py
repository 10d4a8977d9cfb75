"""Rounds stored parameters onto a fixed-point or integer grid."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.ir.annotations import get_datatype, merge_annotations, set_datatype
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.grid import Grid
from qonnx_core.ir.names import Names
from qonnx_core.ops.builder import GraphBuilder
from qonnx_core.ops.rounding import Rounding, round_by
from qonnx_core.passes.base import new_constant
from qonnx_core.passes.remove_unused import RemoveUnused

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True, slots=True)
class RoundedParameter:
    """One parameter after rounding: its grid, the largest error, and how many values the grid clips."""

    tensor: str
    datatype: str
    max_error: float
    clipped: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "tensor": self.tensor, "datatype": self.datatype, "max_error": self.max_error, "clipped": self.clipped,
        }  # fmt: skip


@dataclass(frozen=True)
class FixedPointQuantizeParams:
    """Constants that chosen operators read become the nearest numbers of a grid: the model's values change by that.

    Without a grid nothing changes. Parameters behind a quantizer are read by that quantizer, not by the operator; only
    ``tensors`` and ``grids`` reach them.

    Args:
        grid: ``FIXED<16,6>``, or an integer type with a scale: ``INT8``, ``INT8*2^-4``, ``INT8*0.1``.
        op_types: operators whose constant inputs are rounded; globs.
        tensors: names of further parameters; globs.
        grids: ``{name: grid}`` of parameters with grids of their own, such as ``{"conv*": "FIXED<8,2>"}``; globs, of
            which the first that fits counts.
        rounding: how a number between two grid points is rounded, by the names of the format.
        max_error: the largest error that is accepted for a single number.
    """

    grid: str = ""
    op_types: tuple[str, ...] = ("Add", "Mul")
    tensors: tuple[str, ...] = ()
    grids: Mapping[str, str] = field(default_factory=dict)
    rounding: Rounding = Rounding.ROUND
    max_error: float | None = None
    name: str = "fixed_point_quantize_params"

    def run(self, model: ir.Model) -> int:
        """Edit the model in place; return the number of parameters that changed.

        Raises:
            InvalidInput: a grid is none, a name matches no parameter, or the error is larger than accepted; then
                nothing is changed.
        """
        return sum(1 for entry in self.apply(model) if entry.max_error > 0)

    def apply(self, model: ir.Model) -> list[RoundedParameter]:
        """Edit the model in place; return all parameters that are on the grid now, in the order of the graph.

        Raises:
            InvalidInput: as :meth:`run`.
        """
        if self.max_error is not None and not self.max_error >= 0:
            raise InvalidInput(f"max_error: found {self.max_error}; expected a number of at least 0.")
        own = {glob: _Target.of(text, f"tensors {glob!r}: ") for glob, text in self.grids.items()}
        common = _Target.of(self.grid) if self.grid else None
        places = self._places(model)
        made: list[tuple[ir.Value, list[tuple[ir.Node, int]], NDArray[Any], _Target, RoundedParameter]] = []
        for value, uses in places.items():
            name = value.name or ""
            target = next((own[glob] for glob in own if fnmatch.fnmatchcase(name, glob)), common)
            assert target is not None
            array = constant_array(value)
            assert array is not None
            if array.size == 0 or not np.all(np.isfinite(array)):
                raise InvalidInput(f"parameter {name}: is empty or not finite; expected numbers to round.")
            rounded, error, clipped = _rounded(array, target.grid, self.rounding)
            made.append((value, uses, rounded, target, RoundedParameter(name, str(target.datatype), error, clipped)))
        self._require_near([(target, entry) for *_, target, entry in made])
        names = Names(model.graph)
        for value, uses, array, target, entry in made:
            if entry.max_error > 0 or get_datatype(value) != target.datatype:
                _store(model, value, uses, array, target.datatype, names)
        if made:
            RemoveUnused().run(model)
        return [entry for *_, entry in made]

    def _require_near(self, made: list[tuple[_Target, RoundedParameter]]) -> None:
        too_far = [(t, e) for t, e in made if self.max_error is not None and e.max_error > self.max_error]
        if too_far:
            worst = "; ".join(f"{e.tensor}: {e.max_error:g} ({e.clipped} clipped)" for _, e in too_far[:8])
            texts = " and ".join(dict.fromkeys(target.text for target, _ in too_far))
            raise InvalidInput(
                f"{len(too_far)} parameters are further than {self.max_error:g} from {texts}: {worst}; expected a "
                "finer or wider grid. Choose other bits."
            )

    @staticmethod
    def readers_of_constants(model: ir.Model) -> list[str]:
        """Return the types of the operators that read float constants, quantizers excepted."""
        nodes = [node for graph in model.graphs() for node in graph]
        return sorted({node.op_type for node in nodes if node.domain == "" and any(True for _ in _constants(node))})

    def _places(self, model: ir.Model) -> dict[ir.Value, list[tuple[ir.Node, int]]]:
        """Return the parameters to round, each with the inputs that read it and are meant."""
        places: dict[ir.Value, list[tuple[ir.Node, int]]] = {}
        named = (*self.grids, *(self.tensors if self.grid else ()))
        op_types = self.op_types if self.grid else ()
        unmatched = set(named)
        for graph in model.graphs():
            for node in graph:
                by_type = any(fnmatch.fnmatchcase(node.op_type, glob) for glob in op_types)
                for index, value in _constants(node):
                    globs = [glob for glob in named if fnmatch.fnmatchcase(value.name or "", glob)]
                    unmatched.difference_update(globs)
                    if globs or (by_type and node.domain == ""):
                        places.setdefault(value, []).append((node, index))
        if unmatched:
            raise InvalidInput(
                f"tensors {', '.join(sorted(unmatched))}: match no float parameter; expected names of constants that "
                "nodes read. List them with `qonnx info`."
            )
        return places


def _constants(node: ir.Node) -> Iterator[tuple[int, ir.Value]]:
    """Yield the float constants that the node reads, with the numbers of the inputs."""
    for index, value in enumerate(node.inputs):
        if value is not None and value.dtype in _FLOATS and constant_array(value) is not None:
            yield index, value


@dataclass(frozen=True, slots=True)
class _Target:
    """A grid as the user writes it, and the data type of what lies on it."""

    text: str
    grid: Grid
    datatype: DataType

    @staticmethod
    def of(text: str, where: str = "") -> _Target:
        """Return the grid that a text names; messages start with ``where``."""
        try:
            grid, cleaned = Grid.parse(text), text.strip()
        except InvalidInput as error:
            raise InvalidInput(f"{where}{error}") from error
        if grid.channels > 1 or grid.zero_point != (0,) or grid.offset != (Fraction(0),):
            raise InvalidInput(
                f"{where}grid {text}: has channels, a zero point or an offset; expected one scale, e.g. FIXED<16,6>."
            )
        if cleaned.startswith("FIXED"):
            return _Target(cleaned, grid, DataType.parse(cleaned))
        integers = grid.scale == (Fraction(1),)
        return _Target(cleaned, grid, grid.datatype if integers else DataType.scaled_int(grid.datatype.bits))


def _rounded(array: NDArray[Any], grid: Grid, rounding: Rounding) -> tuple[NDArray[Any], float, int]:
    low, high = grid.integers
    scale = float(grid.scale[0])
    wide = array.astype(np.float64)
    if grid.datatype.name == "BIPOLAR":
        levels = np.where(wide >= 0, 1.0, -1.0)
        outside = 0
    else:
        steps = wide / scale
        folding = GraphBuilder.apart(constant_array)
        levels = np.asarray(round_by(folding, rounding, np.clip(steps, low, high)))
        outside = int(np.count_nonzero((steps < low) | (steps > high)))
    with np.errstate(over="ignore"):
        values = (levels * scale).astype(array.dtype)
        top = np.asarray(high * scale).astype(array.dtype)
    if float(top) > high * scale:  # the largest number of the grid has more digits than the element type
        values = np.minimum(values, np.nextafter(top, top.dtype.type(0)))
    return values, float(np.max(np.abs(values.astype(np.float64) - wide))), outside


def _store(
    model: ir.Model,
    value: ir.Value,
    uses: list[tuple[ir.Node, int]],
    array: NDArray[Any],
    datatype: DataType,
    names: Names,
) -> None:
    """Replace the parameter for the given inputs; other readers keep the old one."""
    if value.is_initializer() and len(uses) == len(value.uses()) and not value.is_graph_output():
        value.const_value = ir.tensor(array, name=value.name)
        set_datatype(value, datatype)
        return
    graph = value.graph or model.graph
    made = new_constant(graph, f"{value.name}/rounded", array, names)
    merge_annotations(value, made)
    set_datatype(made, datatype)
    for node, index in uses:
        node.replace_input_with(index, made)
