"""Brings the free dimensions of two models together: one name where values meet, different ones elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.names import free_name

_Dim = int | tuple[int, str]  # a size, or the name of a free dimension in model 0 or 1


def join_dimensions(front: ir.Model, back: ir.Model, pairs: Iterable[tuple[ir.Value, ir.Value]]) -> None:
    """Edit the shapes of both models in place, so that a name stands for the same size in both.

    What is joined has the same dimensions afterwards: a size where one side has one, else the name in the first model.
    Names of the second model that the first one uses for something else get a number.

    Args:
        front: the model in front.
        back: the model behind it.
        pairs: outputs of the first model and the inputs of the second that they feed.

    Raises:
        InvalidModel: a free dimension would have two sizes.
    """
    same: dict[_Dim, _Dim] = {}

    def root(dim: _Dim) -> _Dim:
        while dim in same:
            dim = same[dim]
        return dim

    for source, target in pairs:
        for left, right in zip(source.shape or (), target.shape or (), strict=False):
            ends = [root(dim) for dim in (_dim(0, left), _dim(1, right)) if dim is not None]
            if len(ends) < 2 or ends[0] == ends[1]:
                continue
            first, second = sorted(ends, key=lambda dim: (0, "") if isinstance(dim, int) else (1 + dim[0], dim[1]))
            if isinstance(second, int):
                raise InvalidModel(
                    f"output {source.name} of the first model and input {target.name} of the second: a free dimension "
                    f"would be {first} and {second}; expected one size. Change the batch size of one."
                )
            same[second] = first
    fronts, backs = _names(front), _names(back)
    taken = {found[1] for name in fronts if not isinstance(found := root((0, name)), int)}
    spoken: dict[_Dim, int | str] = {}
    for number, model, names in ((0, front, fronts), (1, back, backs)):
        for name in names:
            found = root((number, name))
            if found not in spoken:
                spoken[found] = found if isinstance(found, int) else found[1]
                if not isinstance(found, int) and found[0] == 1:
                    spoken[found] = free_name(found[1], taken)
        _rename(model, {name: spoken[root((number, name))] for name in names})


def _dim(model: int, dim: int | ir.SymbolicDim) -> _Dim | None:
    if isinstance(dim, int):
        return dim
    return None if dim.value is None else (model, str(dim.value))


def _values(model: ir.Model) -> Iterable[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _names(model: ir.Model) -> list[str]:
    dims = (dim for value in _values(model) for dim in value.shape or () if isinstance(dim, ir.SymbolicDim))
    return list(dict.fromkeys(str(dim.value) for dim in dims if dim.value is not None))


def _rename(model: ir.Model, renamed: dict[str, int | str]) -> None:
    for value in _values(model):
        if value.shape is None or not any(isinstance(dim, ir.SymbolicDim) for dim in value.shape):
            continue
        free = (None if isinstance(dim, int) or dim.value is None else str(dim.value) for dim in value.shape)
        pairs = zip(value.shape, free, strict=True)
        value.shape = ir.Shape([dim if name is None else renamed[name] for dim, name in pairs])
