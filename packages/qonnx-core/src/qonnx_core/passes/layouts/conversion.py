"""Carries every tensor of a graph in the layout that its readers want, and moves axes only where two disagree.

A tensor is represented by one or more stored forms, each with its :data:`Axes`. A node that reads a tensor asks for a
form; it is made where none is there, once. So a Transpose costs nothing until somebody needs its result as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qonnx_core.ir.annotations import get_layout, merge_annotations, set_layout
from qonnx_core.ir.constants import constant_array
from qonnx_core.ir.permutations import permutation_of
from qonnx_core.passes.base import has_graphs, is_standard
from qonnx_core.passes.layouts.axes import LETTERS, Axes, moved_array, moved_sizes, natural
from qonnx_core.passes.layouts.emitter import Emitter, stem_of
from qonnx_core.passes.layouts.regroup import regrouped
from qonnx_core.passes.layouts.statics import Statics


class Target(Protocol):
    """The layout that a conversion goes to."""

    @property
    def suffix(self) -> str:
        """The end of the names of tensors in this layout."""
        ...

    def axes(self, rank: int) -> Axes | None:
        """Return the axes of a tensor of this rank, or None where such tensors stay."""
        ...

    def letters(self, layout: tuple[str, ...], axes: Axes) -> tuple[str, ...] | None:
        """Return the annotated layout of a stored form of a tensor with this layout, or None where it has no name."""
        ...

    def is_seed(self, node: ir.Node) -> bool:
        """Return whether the node is one for whose sake tensors change their layout, and can be converted."""
        ...

    def prepare(self, conversion: Conversion, nodes: Sequence[ir.Node]) -> None:
        """Look at the graph before the first node is converted."""
        ...

    def convert(self, conversion: Conversion, node: ir.Node) -> bool:
        """Replace the node by one that reads and writes stored forms; return False where it has to stay."""
        ...

    def follows(self, conversion: Conversion, node: ir.Node) -> bool:
        """Return whether the node could work in the layout of its neighbours."""
        ...


class Conversion:
    """One walk over one graph, in topological order."""

    def __init__(self, emitter: Emitter, target: Target) -> None:
        self.model = emitter.model
        self.graph = emitter.graph
        self.target = target
        self.emitter = emitter
        self.statics = Statics(self.emitter)
        self.shuffled: dict[
            ir.Value, tuple[ir.Value, NDArray[np.intp]]
        ] = {}  # v -> (w, index): w[:, j] = v[:, index[j]]
        self.absorbed: set[ir.Value] = set()  # all readers can take the columns in any order
        self.edits = 0
        self._forms: dict[ir.Value, dict[Axes, ir.Value]] = {}
        self._names: dict[ir.Value, str | None] = {}
        self._wide: dict[tuple[ir.Value, int], ir.Value] = {}
        self._moved: dict[tuple[ir.Value, tuple[int, ...]], ir.Value] = {}  # tensors that several others are, moved
        self._replaced: list[ir.Node] = []
        self._wishes: dict[ir.Value, Axes] = {}
        self._dynamic: set[ir.Value] = set(self.graph.inputs)

    def run(self, *, change_inputs: bool = False, change_outputs: bool = False, without_seeds: bool = False) -> int:
        """Convert the graph in place; return the number of nodes and inputs that changed, 0 where no seed is there.

        ``without_seeds`` converts what follows transpositions even where no seed is.
        ``change_inputs`` stores the graph inputs that a seed wants in the new layout, under the same names;
        ``change_outputs`` leaves graph outputs in it.
        """
        nodes = list(self.graph)
        if not without_seeds and not any(self.target.is_seed(node) for node in nodes):
            return 0
        self._know_dynamic(nodes)
        self._know_wishes(nodes, of_transposes=without_seeds)
        self.target.prepare(self, nodes)
        if change_inputs:
            for index in range(len(self.graph.inputs)):
                self._change_input(index)
        for node in nodes:
            if has_graphs(node):
                self._restore_captured(node)
            if not self.is_dynamic(node) or not self.target.convert(self, node):
                self._keep(node)
        self._restore_outputs(keep=change_outputs)
        for node in reversed(self._replaced):
            self.graph.remove(node, safe=True)
        for node in self.graph:
            if not node.name:
                node.name = self.emitter.fresh_for_node(f"{node.outputs[0].name}/node")
        return self.edits

    # What is known of tensors

    def is_dynamic(self, node: ir.Node) -> bool:
        """Return whether the node depends on the inputs of the graph."""
        return any(value in self._dynamic for value in node.outputs)

    def depends(self, value: ir.Value | None) -> bool:
        """Return whether the value depends on the inputs of the graph."""
        return value in self._dynamic

    @staticmethod
    def rank(value: ir.Value | None) -> int | None:
        """Return the rank where it is known."""
        if value is None:
            return None
        array = None if value.shape is not None else constant_array(value)
        return array.ndim if array is not None else None if value.shape is None else len(value.shape)

    def has(self, value: ir.Value, axes: Axes) -> bool:
        """Return whether the form is there already."""
        if value not in self._forms:
            return axes == natural(len(axes))
        return axes in self._forms[value]

    def is_wanted(self, value: ir.Value) -> bool:
        """Return whether a node further on reads the value, or what becomes of it, in the target layout."""
        axes = self._wishes.get(value)
        return axes is not None and axes == self.target.axes(self.rank(value) or 0)

    def wish(self, value: ir.Value) -> Axes | None:
        """Return the form in which a node further on reads the value, or what becomes of it, where one does."""
        return self._wishes.get(value)

    def choose(self, node: ir.Node, rank: int | None = None) -> Axes | None:
        """Return the axes in which a node between others should work, or None where it should stay.

        It follows where its output is wanted in the target layout, or where an input is there in no other.
        """
        rank = self.rank(node.outputs[0]) if rank is None else rank
        axes = None if rank is None else self.target.axes(rank)
        if rank is None:
            return None
        for value in node.outputs:
            if value in self._wishes and self.rank(value) == rank:
                wish = self._wishes[value]
                return None if wish == natural(rank) else wish
        full = [
            value for value in node.inputs if value is not None and self.depends(value) and self.rank(value) == rank
        ]
        foreign = [value for value in full if not self.has(value, natural(rank)) and value not in self.shuffled]
        if axes is not None and any(self.has(value, axes) for value in foreign):
            return axes
        if not foreign or any(len(value.uses()) > 1 for value in full):
            return None
        other = next(iter(self._forms[foreign[0]]))  # of a Transpose further up: it may cancel further down
        return other if all(self.has(value, other) for value in full) else None

    # Reading

    def read(self, value: ir.Value, axes: Axes, before: ir.Node | None) -> ir.Value:
        """Return the value stored with these axes; what has to be made is put in front of ``before``."""
        rank = sum(axis is not None for axis in axes)
        forms = self._forms.setdefault(value, {natural(rank): value})
        if axes in forms:
            return forms[axes]
        made = None
        if before is not None and not self.depends(value):
            made = self.statics.moved(
                value,
                rank,
                axes,
                lambda array: moved_array(array, axes),
                before,
                suffix=self.target.suffix,
            )
        if made is None:
            made = self._rearranged(value, axes, before)
        self._annotate(value, made, axes)
        forms[axes] = made
        return made

    def natural(self, value: ir.Value, before: ir.Node | None) -> ir.Value:
        """Return the value as it is."""
        if value not in self._forms:
            return value
        axes = next(iter(self._forms[value]))
        return self.read(value, natural(sum(axis is not None for axis in axes)), before)

    def read_wide(self, value: ir.Value, axes: Axes, before: ir.Node) -> ir.Value:
        """Return an operand of fewer axes, so that it broadcasts against tensors stored with these axes."""
        rank = sum(axis is not None for axis in axes)
        own = self.rank(value)
        assert own is not None
        if own == rank:
            return self.read(value, axes, before)
        if own == 0 or (value.shape is not None and all(size == 1 for size in value.shape) and own <= 1):
            return self.natural(value, before)
        if not self.depends(value):
            made = self.statics.moved(
                value,
                rank,
                ("wide", axes),
                lambda array: moved_array(array, axes),
                before,
                suffix=self.target.suffix,
            )
            if made is not None:
                return made
        wide = self._wide.get((value, rank))
        if wide is None:
            leading = list(range(rank - own))
            wide = self.insert(before, "Unsqueeze", [self.natural(value, before), leading], value, "wide")
            wide.shape = None if value.shape is None else ir.Shape([1] * len(leading) + list(value.shape))
            self._wide[value, rank] = wide
        return self.read(wide, axes, before)

    def insert(
        self, before: ir.Node | None, op_type: str, inputs: Sequence[Any], like: ir.Value, what: str, **attributes: Any
    ) -> ir.Value:
        """Return the output of a new node that moves the axes of ``like``; lists among the inputs become constants."""
        stem = f"{like.name}/{what}"
        values = [
            item
            if item is None or isinstance(item, ir.Value)
            else self.emitter.vector(item, f"{stem}/{op_type.lower()}")
            for item in inputs
        ]
        made = self.emitter.node(before, op_type, values, attributes, stem=f"{stem}/{op_type.lower()}", outputs=[stem])
        made.outputs[0].type = like.type
        return made.outputs[0]

    # Writing

    def replace(
        self,
        node: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any],
        axes: Sequence[Axes],
        *,
        domain: str | None = None,
    ) -> ir.Node:
        """Let a new node stand for ``node``, with outputs stored with these axes; return it."""
        used = list(inputs)
        while used and used[-1] is None:
            used.pop()
        made = self.emitter.node(
            node,
            op_type,
            used,
            attributes,
            stem=stem_of(node),
            outputs=[f"{value.name}/{self.target.suffix}" for value in node.outputs],
            domain=node.domain if domain is None else domain,
            source=node,
        )
        for old, new, order in zip(node.outputs, made.outputs, axes, strict=True):
            self.put(old, order, new)
        self.drop(node)
        if node.name:
            made.name, node.name = node.name, made.name
        return made

    def put(self, old: ir.Value, axes: Axes, new: ir.Value) -> None:
        """Note that ``new`` is ``old`` stored with these axes."""
        new.type = old.type if new.type is None else new.type
        if new.shape is None and old.shape is not None:
            new.shape = ir.Shape(moved_sizes(list(old.shape), axes))
        self._annotate(old, new, axes)
        self._forms[old] = {axes: new}
        if axes == natural(len(axes)):
            self._take_name(old, new)

    def put_forms(self, old: ir.Value, forms: dict[Axes, ir.Value]) -> None:
        """Note several stored forms of a value at once; the values belong to other tensors as well."""
        self._forms[old] = dict(forms)

    def forms(self, value: ir.Value) -> dict[Axes, ir.Value]:
        """Return the stored forms of a value."""
        rank = self.rank(value)
        if value not in self._forms and rank is not None:
            return {natural(rank): value}
        return dict(self._forms.get(value, {}))

    def drop(self, node: ir.Node) -> None:
        """Note that the node is replaced; it goes at the end."""
        self._replaced.append(node)
        self.edits += 1

    # Steps of the walk

    def _know_dynamic(self, nodes: Sequence[ir.Node]) -> None:
        for node in nodes:
            if has_graphs(node) or any(value in self._dynamic for value in node.inputs) or not _is_pure(node):
                self._dynamic.update(node.outputs)

    def _know_wishes(self, nodes: Sequence[ir.Node], *, of_transposes: bool) -> None:
        """Note for each tensor in which form a node further on will read it, or what becomes of it.

        ``of_transposes`` counts a Transpose to the target layout as such a node, from 4 axes on: of 3, the way back
        looks the same.
        """
        lasting = self._lasting(nodes)
        for node in reversed(nodes):
            if not self.is_dynamic(node):
                continue
            if self.target.is_seed(node):
                data = node.inputs[0]
                axes = self.target.axes(self.rank(data) or 0)
                if data is not None and axes is not None:
                    self._wishes[data] = axes
                continue
            wish = next((self._wishes[value] for value in node.outputs if value in self._wishes), None)
            if not self.target.follows(self, node):
                continue
            if wish is None and node.outputs[0] in lasting:
                wish = self.target.axes(self.rank(node.outputs[0]) or 0)
            data = node.inputs[0] if node.inputs else None
            if wish is None and of_transposes and node.op_type == "Transpose" and data is not None:
                axes = self.target.axes(self.rank(data) or 0)
                if axes is not None and len(axes) > 3 and fitting_permutation(node, len(axes)) == list(axes):
                    self._wishes.setdefault(data, axes)
            if wish is None:
                continue
            rank = sum(axis is not None for axis in wish)
            if node.op_type == "Transpose":
                permutation = fitting_permutation(node, rank)
                if permutation is None:
                    continue
                wish = tuple(None if axis is None else permutation[axis] for axis in wish)
            elif node.op_type == "Reshape":
                before, after = node.inputs[0], node.outputs[0]
                if before is not None and before.shape is not None and after.shape is not None:
                    back = regrouped(wish, list(after.shape), list(before.shape))
                    if back is not None and self.depends(before):
                        self._wishes.setdefault(before, back)
                continue
            for value in node.inputs:
                if value is not None and self.depends(value) and self.rank(value) == rank:
                    self._wishes.setdefault(value, wish)

    def _lasting(self, nodes: Sequence[ir.Node]) -> set[ir.Value]:
        """Return the tensors that come out of a seed, or of what follows one, in the target layout."""
        lasting: set[ir.Value] = set()
        for node in nodes:
            if self.target.is_seed(node):
                lasting.update(node.outputs)
            elif node.op_type != "Transpose" and self.target.follows(self, node):
                ranks = {self.rank(value) for value in node.inputs if value in lasting}
                lasting.update(value for value in node.outputs if self.rank(value) in ranks)
        return lasting

    def _change_input(self, index: int) -> None:
        value = self.graph.inputs[index]
        rank = self.rank(value)
        axes = None if rank is None else self.target.axes(rank)
        layout = get_layout(value)
        if axes is None or not self.is_wanted(value) or rank is None or value.is_graph_output():
            return
        if layout is not None and layout[-1] == "C":
            return
        assert value.shape is not None
        letters = layout or LETTERS[rank]
        made = ir.Value(
            name=value.name, shape=ir.Shape(moved_sizes(list(value.shape), axes)), type=value.type,
            doc_string=value.doc_string,
        )  # fmt: skip
        merge_annotations(value, made)
        made.metadata_props.update(value.metadata_props)
        set_layout(made, self.target.letters(letters, axes))
        self.graph.inputs[index] = made
        self._forms[value] = {axes: made}
        value.name = self.emitter.fresh(f"{value.name}/replaced")
        self.edits += 1

    def _keep(self, node: ir.Node) -> None:
        """Let the node read its inputs as they are."""
        for index, value in enumerate(node.inputs):
            if value is not None:
                plain = self.natural(value, node)
                if plain is not value:
                    node.replace_input_with(index, plain)

    def _restore_captured(self, node: ir.Node) -> None:
        """Let the graphs inside a node read outer tensors as they are."""
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
                inner = attribute.as_graph()
                for child in inner.all_nodes():
                    for index, value in enumerate(child.inputs):
                        if value is not None and value in self._forms:
                            child.replace_input_with(index, self.natural(value, node))
                for index, value in enumerate(inner.outputs):
                    if value in self._forms:
                        inner.outputs[index] = self.natural(value, node)

    def _restore_outputs(self, *, keep: bool) -> None:
        for index, value in enumerate(self.graph.outputs):
            if value not in self._forms:
                continue
            forms = self._forms[value]
            rank = sum(axis is not None for axis in next(iter(forms)))
            axes = self.target.axes(rank)
            stays = keep and axes in forms and natural(rank) not in forms
            found = forms[axes] if stays and axes is not None else self.natural(value, None)
            if found is value:
                continue
            if found.is_graph_input() or found.is_graph_output() or found.is_initializer():
                found = self.insert(None, "Identity", [found], value, "copy")
                found.shape = value.shape
                merge_annotations(value, found)
            self._take_name(value, found)
            self.graph.outputs[index] = found

    # Making forms

    def _rearranged(self, value: ir.Value, axes: Axes, before: ir.Node | None) -> ir.Value:
        """Return the output of new nodes: added axes away, the others moved, added axes in."""
        source_axes, source = next(iter(self._forms[value].items()))
        current = source
        is_natural = axes == natural(len(axes))
        what = "plain" if is_natural else self.target.suffix
        if len(source_axes) == len(axes):
            current = self._transposed(value, source, source_axes, axes, before, what)
        else:
            current = self._resized(value, source, source_axes, axes, before, what)
        if value.shape is not None:
            current.shape = ir.Shape(moved_sizes(list(value.shape), axes))
        if is_natural:
            self._take_name(value, current)
        return current

    def _resized(
        self, value: ir.Value, source: ir.Value, source_axes: Axes, axes: Axes, before: ir.Node | None, what: str
    ) -> ir.Value:
        """Return the output of nodes that remove or insert added axes, with a Transpose where the others move too."""
        current = source
        plain = [axis for axis in source_axes if axis is not None]
        if len(plain) < len(source_axes):
            added = [place for place, axis in enumerate(source_axes) if axis is None]
            current = self.insert(before, "Squeeze", [current, added], value, what)
        wanted = [axis for axis in axes if axis is not None]
        if plain != wanted:
            current.shape = None if value.shape is None else ir.Shape([value.shape[axis] for axis in plain])
            order = [plain.index(axis) for axis in wanted]
            current = self.insert(before, "Transpose", [current], value, what, perm=order)
        if len(wanted) < len(axes):
            current.shape = None if value.shape is None else ir.Shape([value.shape[axis] for axis in wanted])
            added = [place for place, axis in enumerate(axes) if axis is None]
            current = self.insert(before, "Unsqueeze", [current, added], value, what)
        return current

    def _transposed(
        self, value: ir.Value, source: ir.Value, source_axes: Axes, axes: Axes, before: ir.Node | None, what: str
    ) -> ir.Value:
        """Return the output of one Transpose that brings a stored form into another with as many added axes."""
        added = iter([place for place, axis in enumerate(source_axes) if axis is None])
        order = tuple(next(added) if axis is None else source_axes.index(axis) for axis in axes)
        if (source, order) not in self._moved:
            self._moved[source, order] = self.insert(before, "Transpose", [source], value, what, perm=order)
        return self._moved[source, order]

    def _annotate(self, old: ir.Value, new: ir.Value, axes: Axes) -> None:
        if new is old:
            return
        own = get_layout(new)
        merge_annotations(old, new)
        if axes == natural(len(axes)) or own is not None:
            return
        known = get_layout(old) or LETTERS.get(sum(axis is not None for axis in axes))
        set_layout(new, None if known is None else self.target.letters(known, axes))

    def _take_name(self, old: ir.Value, new: ir.Value) -> None:
        """Give ``new``, which is ``old`` itself, its name."""
        if old is new or new.is_graph_input() or new.is_graph_output():
            return
        name = self._names.setdefault(old, old.name)
        old.name = self.emitter.fresh(f"{name}/replaced")
        new.name = name


def fitting_permutation(node: ir.Node, rank: int) -> list[int] | None:
    """Return the permutation of a Transpose of this many axes, or None where it has another number of them."""
    permutation = permutation_of(node, rank)
    return permutation if sorted(permutation) == list(range(rank)) else None


def _is_pure(node: ir.Node) -> bool:
    return not (is_standard(node) and node.op_type.startswith(("Random", "Multinomial", "Bernoulli")))
