"""GenericPartition: a node that stands for another model file, which takes its place before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx_ir as ir

from qonnx_core.errors import InvalidModel, Unsupported
from qonnx_core.formats.file_checks import is_file
from qonnx_core.ir.annotations import merge_annotations
from qonnx_core.ir.names import free_name, label_of
from qonnx_core.ops.registry import default_registry

PARTITION = "GenericPartition"
_FOLDER = "qonnx_core_folder"  # entry of node.meta: the folder of the file that the node was read from
_MAX_DEPTH = 16
_MAX_MODELS = 4096


def confine_nested_models(model: ir.Model, folder: Path) -> None:
    """Note on every GenericPartition in which folder its model is.

    Raises:
        InvalidModel: a node names no model, a file outside the folder, or one that is not there.
    """
    for node in _partitions(model):
        _nested_file(node, folder)
        node.meta[_FOLDER] = str(folder)


def inline_nested_models(model: ir.Model, *, keep_names: bool = False) -> int:
    """Put the models that GenericPartition nodes name in their places; return how many.

    Inputs and outputs are matched by position. Inner tensors and nodes get the name of the node before theirs,
    ``<node>_<name>``; with ``keep_names`` they keep their own, with a number where it is taken.

    Raises:
        InvalidModel: a model is missing, breaks its format, does not fit its node, or contains itself.
        Unsupported: the node was not read from a file, or two models import different versions of a domain.
    """
    return _inline(model, (), {}, [0], keep_names)


def _partitions(model: ir.Model) -> list[ir.Node]:
    from qonnx_core.ops.op import DOMAIN  # the operators' package is larger than this check

    graphs: list[ir.Graph | ir.Function] = [*model.graphs(), *model.functions.values()]
    return [node for graph in graphs for node in graph if node.op_type == PARTITION and node.domain == DOMAIN]


def _nested_file(node: ir.Node, folder: Path) -> Path:
    """Return the resolved path of the model that the node names."""
    attribute = node.attributes.get("model")
    text = attribute.value if attribute is not None else None
    if not isinstance(text, str) or not text.strip():
        raise InvalidModel(f"{label_of(node)}: attribute model is {text!r}; expected the path of an ONNX file. Set it.")
    flavours = (PurePosixPath(text), PureWindowsPath(text))
    leaves = any(path.is_absolute() or path.anchor or ".." in path.parts for path in flavours) or "\0" in text
    target = folder if leaves else (folder / text).resolve()
    if leaves or not target.is_relative_to(folder.resolve()):
        raise InvalidModel(
            f"{label_of(node)}: its model is said to be {text!r}; expected a file inside the folder of this model. "
            "Move it there and write the path from that folder, or do not trust this file."
        )
    if not is_file(target):
        raise InvalidModel(
            f"{label_of(node)}: its model {text!r} is not there; expected it in {folder}. Copy both files together."
        )
    return target


def _inline(
    model: ir.Model, chain: tuple[Path, ...], loaded: dict[Path, ir.Model], count: list[int], keep_names: bool
) -> int:
    found = _partitions(model)
    taken = Taken(model) if found else None
    for node in found:
        child = _child(node, chain, loaded, count, keep_names)
        agree_on_opsets(label_of(node), model, child, taken)
        prefix = "" if keep_names else f"{node.name or node.outputs[0].name or PARTITION}_"
        splice(model, node, child, prefix=prefix, taken=taken)
    return len(found)


class Taken:
    """What a model has already: names of tensors and of nodes, and its operators by domain."""

    def __init__(self, model: ir.Model) -> None:
        self.values = {name for graph in model.graphs() for name in _names(graph)}
        self.nodes = {node.name for graph in model.graphs() for node in graph if node.name}
        self.operators = _operators(model)


def _child(
    node: ir.Node, chain: tuple[Path, ...], loaded: dict[Path, ir.Model], count: list[int], keep_names: bool
) -> ir.Model:
    """Return a copy of the model that the node names, with its own nested models in place."""
    from qonnx_core.formats.normalize import normalized_copy  # which calls this module
    from qonnx_core.formats.reader import load

    folder = node.meta.get(_FOLDER)
    if folder is None:
        raise Unsupported(
            f"{label_of(node)}: stands for a model in a file, and this model was not read from one; expected one that "
            "qonnx_core.load returned. Save it beside its partitions and load it."
        )
    file = _nested_file(node, Path(str(folder)))
    count[0] += 1
    if file in chain:
        raise InvalidModel(
            f"{label_of(node)}: its model {file.name} contains itself; expected an end. Correct the path."
        )
    if len(chain) >= _MAX_DEPTH or count[0] > _MAX_MODELS:
        raise InvalidModel(
            f"{label_of(node)}: more than {_MAX_DEPTH} models are inside each other, or more than {_MAX_MODELS} in "
            "all; expected fewer. Merge some of them."
        )
    if file not in loaded:
        loaded[file] = load(file)
    child = normalized_copy(loaded[file], nested=False)
    _inline(child, (*chain, file), loaded, count, keep_names)
    return child


def _operators(model: ir.Model) -> dict[str, set[str]]:
    """Return the names of the operators of a model by their domains; the standard domain is always there."""
    found: dict[str, set[str]] = {"": set()}
    for graph in model.graphs():
        for node in graph:
            found.setdefault(node.domain, set()).add(node.op_type)
    return found


def agree_on_opsets(where: str, model: ir.Model, child: ir.Model, taken: Taken | None = None) -> None:
    """Let the model import what the other one needs.

    Raises:
        Unsupported: both use a domain, in different versions of which neither means the same for all operators.
    """
    used = _operators(model) if taken is None else taken.operators
    wanted = _operators(child)
    for domain in sorted(wanted):
        version = child.opset_imports.get(domain)
        if version is None:
            continue
        other = model.opset_imports.get(domain) if domain in used else None
        if other is not None and other != version:
            chosen = _common_version(domain, [(other, used[domain]), (version, wanted[domain])])
            if chosen is None:
                raise Unsupported(
                    f"{where}: its model imports version {version} of {domain or 'ai.onnx'}, the model around it "
                    f"{other}; expected one version. Export one of the two again."
                )
            version = chosen
        model.opset_imports[domain] = version
    for domain, names in wanted.items():
        used.setdefault(domain, set()).update(names)


def _common_version(domain: str, uses: list[tuple[int, set[str]]]) -> int | None:
    """Return the version in which the operators mean what they mean in theirs, the newest first, or None."""
    registry = default_registry()
    if domain not in registry.domains:
        return None
    for chosen in sorted({version for version, _ in uses}, reverse=True):
        if all(
            registry.find(domain, name, version) is registry.find(domain, name, chosen)
            for version, names in uses
            for name in names
        ):
            return chosen
    return None


def splice(model: ir.Model, node: ir.Node, child: ir.Model, *, prefix: str = "", taken: Taken | None = None) -> None:
    """Put the graph of another model in the place of a node, inputs and outputs by position; the child is used up.

    Args:
        model: the model, edited in place.
        node: a node of it, with as many inputs and outputs as the child.
        child: a model without functions, of the same opsets.
        prefix: what every name of the child begins with; where a name is taken a number follows.
        taken: the names of the model, kept up to date, where several models come in.

    Raises:
        InvalidModel: the numbers of inputs or outputs differ.
    """
    inner, outer = child.graph, node.graph
    assert isinstance(outer, ir.Graph)
    for what, given, expected in (("inputs", node.inputs, inner.inputs), ("outputs", node.outputs, inner.outputs)):
        if len(given) != len(expected) or any(value is None for value in given):
            raise InvalidModel(
                f"{label_of(node)}: has {len(given)} {what}, its model {len(expected)}; expected the same, in the same "
                "order. Check which model it names."
            )
    outputs = _own_outputs(inner)
    inner.outputs.clear()
    if not prefix:
        _share_parameters(model.graph, child)
    _name_apart(child, prefix, taken or Taken(model))
    for old, new in zip(list(inner.inputs), list(node.inputs), strict=True):
        assert new is not None
        merge_annotations(old, new)
        old.replace_all_uses_with(new)
    for value in list(inner.initializers.values()):
        inner.initializers.pop(value.name or "")
        model.graph.register_initializer(value)
    nodes = list(inner)
    inner.remove(nodes)
    for old, new in zip(node.outputs, outputs, strict=True):
        merge_annotations(old, new)
        new.type, new.shape = (old.type or new.type), (old.shape if old.shape is not None else new.shape)
    ir.convenience.replace_nodes_and_values(outer, node, [node], nodes, list(node.outputs), outputs)


def _own_outputs(graph: ir.Graph) -> list[ir.Value]:
    """Return the outputs, each the output of a node of its own."""
    outputs: list[ir.Value] = []
    for value in graph.outputs:
        if value.producer() is None or value in outputs:
            copy = ir.node("Identity", [value], name=f"output_{len(outputs)}")
            copy.outputs[0].name = f"output_{len(outputs)}"
            graph.append(copy)
            outputs.append(copy.outputs[0])
        else:
            outputs.append(value)
    return outputs


def _share_parameters(graph: ir.Graph, child: ir.Model) -> None:
    """Let the child read the parameters of the model that have the names and the bytes of its own."""
    for name, value in list(child.graph.initializers.items()):
        own, other = value.const_value, graph.initializers[name].const_value if name in graph.initializers else None
        if own is None or other is None or (own.dtype, own.shape) != (other.dtype, other.shape):
            continue
        if own is other or own.tobytes() == other.tobytes():
            merge_annotations(value, graph.initializers[name])
            value.replace_all_uses_with(graph.initializers[name])
            child.graph.initializers.pop(name)


def _name_apart(child: ir.Model, prefix: str, taken: Taken) -> None:
    """Put the prefix before every name of the child, and a number where the model has such a name already."""
    for graph in child.graphs():
        for node in graph:
            name = f"{prefix}{node.name or node.op_type}" if prefix or node.name else ""
            node.name = free_name(name, taken.nodes) if name else node.name
        renamed = {value: free_name(f"{prefix}{value.name}", taken.values) for value in _names(graph).values()}
        changed = {value: name for value, name in renamed.items() if value.name != name}
        for number, value in enumerate(changed):  # out of the way first: a new name may be another's old one
            value.name = f"\x00{number}"
        for value, name in changed.items():
            value.name = name


def _names(graph: ir.Graph) -> Mapping[str, ir.Value]:
    values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    return {value.name: value for value in values if value.name}
