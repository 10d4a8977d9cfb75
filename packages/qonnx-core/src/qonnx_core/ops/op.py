"""The common shape of every operator: fields are attributes, ``body`` is the definition."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import onnx_ir as ir

from qonnx_core.errors import InvalidModel
from qonnx_core.ir.datatypes import DataType
from qonnx_core.ir.names import label_of
from qonnx_core.ops.builder import Array, Builder, Operand
from qonnx_core.ops.rounding import Rounding

DOMAIN = "qonnx.custom_op.general"
_MAX_KNOWN = 4096
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
_NO_NUMBERS = "OUSTc"  # kinds of numpy arrays
_STORED: Mapping[str, Callable[[Any], Any]] = {"bool": int, "float": float, "str": str, "Rounding": str}


@dataclass(frozen=True)
class QonnxOp(ABC):
    """One operator of the format; an instance holds the attributes of one node.

    A subclass is a frozen dataclass whose fields are the attributes: ``bool`` and ``int`` are stored as INT, ``float``
    as FLOAT, ``tuple[int, ...]`` as INTS, ``str`` and :class:`Rounding` as STRING. Fields with a text type are
    ``static``: they select a variant of the definition instead of being an input of it.
    """

    op_type: ClassVar[str]
    domain: ClassVar[str] = DOMAIN
    since_version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]]  # names of the inputs, in order; the first one is the data
    output: ClassVar[str] = "y"
    broadcasts: ClassVar[bool] = True  # whether all inputs broadcast against each other, as in Add
    never_nan: ClassVar[tuple[str, ...]] = ()  # inputs, such as bit widths, whose NaN would mean nothing
    num_optional: ClassVar[int] = 0  # how many of the last inputs a node can leave out
    takes_integers: ClassVar[bool] = False  # whether the definition is right for data of integer element types too
    batch_like: ClassVar[str] = ""  # the standard operator that treats the samples of a batch in the same way
    about: ClassVar[Mapping[str, str]] = {}  # what each input and attribute means, for schemas and documentation

    @abstractmethod
    def body(self, op: Builder, *inputs: Operand) -> Operand:
        """Return the output, computed by plain ONNX nodes: the one definition of the operator."""

    @classmethod
    def output_shape(cls, shapes: Sequence[tuple[int | str | None, ...] | None]) -> tuple[int | str | None, ...] | None:
        """Return the shape of the output: that of all inputs broadcast, or of the data where they do not."""
        return broadcast_shapes(shapes) if cls.broadcasts else shapes[0]

    def infer_shape(self, shapes: Sequence[tuple[int | str | None, ...] | None]) -> tuple[int | str | None, ...] | None:
        """Return the shape of the output where it depends on the attributes; None where it is not known."""
        return self.output_shape(shapes)

    @classmethod
    def check_shapes(cls, shapes: Sequence[tuple[int | str | None, ...] | None]) -> None:
        """Raise InvalidModel where inputs of these shapes, as far as they are known, do not go together."""
        if not cls.broadcasts or len(shapes) < 2:
            return
        for name, shape in zip(cls.inputs[1:], shapes[1:], strict=False):
            if shape is not None and 0 in shape and shapes[0] is not None and 0 not in shapes[0]:
                raise InvalidModel(f"input {name} is empty; expected numbers. Check the parameters.")
        known = [shape for shape in shapes if shape]
        for axis in range(1, max((len(shape) for shape in known), default=0) + 1):
            sizes = {shape[-axis] for shape in known if axis <= len(shape) and isinstance(shape[-axis], int)} - {1}
            if len(sizes) > 1:
                raise InvalidModel(
                    f"inputs have shapes {', '.join(str(shape) for shape in shapes)}, which do not broadcast; expected "
                    "parameters that do. Check the parameters."
                )

    def check_operands(self, data: ir.Value, parameters: Sequence[Operand]) -> None:
        """Raise InvalidModel where the definition has no meaning for data and parameters of these types and shapes."""
        if data.dtype is not None and data.dtype not in _FLOATS and not self.takes_integers:
            raise InvalidModel(
                f"its data are of element type {data.dtype.name}; expected FLOAT, FLOAT16 or DOUBLE. Put a Cast before "
                "it, or export it with floats."
            )
        plain = True
        for name, parameter in zip(self.inputs[1:], parameters, strict=False):
            if isinstance(parameter, np.ndarray) and parameter.dtype.kind in _NO_NUMBERS:
                raise InvalidModel(
                    f"input {name} holds no numbers ({parameter.dtype}); expected some. Export it again."
                )
            if name in self.never_nan and isinstance(parameter, np.ndarray) and bool(np.isnan(parameter).any()):
                raise InvalidModel(f"input {name} is NaN; expected a number. Export the model again.")
            plain = plain and isinstance(parameter, np.ndarray) and not parameter.ndim
        if not plain:
            self.check_shapes([_shape(data), *map(_shape, parameters)])

    def datatype(self, *inputs: Array | None) -> DataType | None:
        """Return the data type of the output where the known inputs determine it, else None."""
        return None

    def keeps_datatype(self, datatype: DataType) -> bool:
        """Return whether data of this type give an output of the same type, whatever their values."""
        return False

    @classmethod
    def check(cls, node: ir.Node) -> None:
        """Raise InvalidModel where number of inputs or outputs or the attributes break the format."""
        cls.from_node(node)

    @classmethod
    def check_attributes(cls, where: str, attributes: Mapping[str, ir.Attr]) -> None:
        """Raise InvalidModel where one of these attributes has no possible value; others may be missing or unknown."""
        fields = _fields(cls)
        for name, attribute in attributes.items():
            if name in fields and not attribute.is_ref():
                cls._read(where, fields[name], attribute)

    @classmethod
    def from_node(cls, node: ir.Node) -> Self:
        """Return the operator with the attributes of this node, defaults filled in.

        Raises:
            InvalidModel: inputs are missing, or an attribute is unknown, missing, or has no possible value.
        """
        where = label_of(node)
        inputs = node.inputs
        given = len(inputs) - inputs.count(None)
        fewest, most = len(cls.inputs) - cls.num_optional, len(cls.inputs)
        if not fewest <= given <= most or len(inputs) > most or None in inputs[:given]:
            count = f"{fewest} to {most}" if fewest < most else str(most)
            raise InvalidModel(
                f"{where}: has {given} inputs; {cls.op_type} of {cls.domain} version {cls.since_version} takes "
                f"{count} ({', '.join(cls.inputs)}). Check the node{cls.hint(node)}."
            )
        if len(node.outputs) != 1:
            raise InvalidModel(f"{where}: has {len(node.outputs)} outputs; expected 1. Check the node.")
        given_attributes = node.attributes.data
        # Many nodes have the same attributes. Only those are kept that are alike where they compare equal: -0.0 is not.
        is_plain = True
        parts: list[object] = [cls]
        for name, attribute in given_attributes.items():
            value = attribute.value
            is_plain = is_plain and type(value) in (int, str)
            parts += (name, attribute.type, value)
        key = tuple(parts)
        known = _known.get(key) if is_plain else None
        if known is not None:
            assert isinstance(known, cls)
            return known
        made = cls.of_attributes(where, given_attributes)
        if is_plain:
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[key] = made
        return made

    @classmethod
    def of_attributes(cls, where: str, attributes: Mapping[str, ir.Attr]) -> Self:
        """Return the operator with these attributes, defaults filled in; ``where`` is the node, for messages.

        Raises:
            InvalidModel: an attribute is missing or has no possible value.
        """
        fields = _fields(cls)
        values: dict[str, Any] = {}
        for name, attribute in attributes.items():
            if name in fields:
                values[name] = cls._read(where, fields[name], attribute)
        for name, field in fields.items():
            if name not in values and field.default is dataclasses.MISSING:
                raise InvalidModel(f"{where}: attribute {name} is missing, and the format gives no default. Set it.")
        try:
            return cls(**values)
        except InvalidModel as error:
            raise InvalidModel(f"{where}: {error}") from error

    @classmethod
    def hint(cls, node: ir.Node) -> str:
        """Return words that follow "Check the node" where a likelier reason is known."""
        return ""

    @staticmethod
    def _read(where: str, field: dataclasses.Field[Any], attribute: ir.Attr) -> Any:
        value = attribute.value
        kind = str(field.type)
        if kind == "bool":
            if not isinstance(value, int) or value not in (0, 1):
                raise InvalidModel(
                    f"{where}: attribute {field.name} is {_shown(attribute)}; expected 0 or 1. Correct it."
                )
            return bool(value)
        if kind == "float":
            if not isinstance(value, int | float):
                raise InvalidModel(
                    f"{where}: attribute {field.name} is {_shown(attribute)}; expected a number. Correct it."
                )
            return float(value)
        if kind == "int":
            if not isinstance(value, int):
                raise InvalidModel(
                    f"{where}: attribute {field.name} is {_shown(attribute)}; expected an integer. Correct it."
                )
            return value
        if kind == "tuple[int, ...]":
            if attribute.type != ir.AttributeType.INTS or attribute.is_ref():
                raise InvalidModel(
                    f"{where}: attribute {field.name} is {_shown(attribute)}; expected whole numbers. Correct it."
                )
            return tuple(int(number) for number in value)
        if not isinstance(value, str):
            raise InvalidModel(f"{where}: attribute {field.name} is {_shown(attribute)}; expected a text. Correct it.")
        if kind == "Rounding":
            try:
                return Rounding.parse(value)
            except InvalidModel as error:
                raise InvalidModel(f"{where}: {error}") from error
        return value

    def attributes(self) -> dict[str, int | float | str | tuple[int, ...]]:
        """Return all attributes as a file holds them; an empty list is left out."""
        stored: dict[str, int | float | str | tuple[int, ...]] = {}
        for field in _fields(type(self)).values():
            value = getattr(self, field.name)
            if value != ():
                kind = _STORED.get(str(field.type))
                stored[field.name] = value if kind is None else kind(value)
        return stored

    def variant(self) -> tuple[tuple[str, str | int], ...]:
        """Return the static attributes: nodes with the same ones share one function body.

        Their names are the same for all nodes of the operator.
        """
        return tuple((name, value) for name, value in self.attributes().items() if isinstance(value, str))

    def node(self, *inputs: ir.Value, name: str | None = None, output: str | None = None) -> ir.Node:
        """Return a new node of this operator with all attributes written out."""
        made = ir.node(self.op_type, inputs, self.attributes(), domain=self.domain, name=name)
        made.outputs[0].name = output
        made.outputs[0].type = inputs[0].type
        return made

    def expand(self, op: Builder, inputs: Sequence[Operand]) -> Operand:
        """Return the output of the definition, with everything that ``op`` knows about the inputs used."""
        data, *rest = inputs
        parameters = [known if isinstance(x, ir.Value) and (known := op.known(x)) is not None else x for x in rest]
        if isinstance(data, ir.Value):
            self.check_operands(data, parameters)
        return self.body(op, data, *parameters)


def _shape(operand: Operand) -> tuple[int | str | None, ...] | None:
    if not isinstance(operand, ir.Value):
        return np.shape(operand)
    return None if operand.shape is None else tuple(d if isinstance(d, int) else d.value for d in operand.shape)


def _shown(attribute: ir.Attr) -> str:
    """Return the value of an attribute as a message shows it."""
    plain = isinstance(attribute.value, int | float | str | bytes | tuple | list)
    return repr(attribute.value) if plain and not attribute.is_ref() else f"of type {attribute.type.name}"


_known: dict[tuple[Any, ...], QonnxOp] = {}


@functools.cache
def _fields(kind: type[QonnxOp]) -> Mapping[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(kind)}


def attribute_type(field: dataclasses.Field[Any]) -> ir.AttributeType:
    """Return the type in which a file holds this field of an operator."""
    kinds = {"bool": "INT", "int": "INT", "float": "FLOAT", "tuple[int, ...]": "INTS"}
    return ir.AttributeType[kinds.get(str(field.type), "STRING")]


def broadcast_shapes(
    shapes: Sequence[tuple[int | str | None, ...] | None],
) -> tuple[int | str | None, ...] | None:
    """Return the shape after ONNX broadcasting, with symbols kept where they stand alone; None where not known."""
    if any(shape is None for shape in shapes):
        return None
    known = [shape for shape in shapes if shape is not None]
    rank = max(len(shape) for shape in known)
    result: list[int | str | None] = []
    for axis in range(rank):
        dims = [shape[axis - rank + len(shape)] for shape in known if axis - rank + len(shape) >= 0]
        result.append(_broadcast_dims(dims))
    return tuple(result)


def _broadcast_dims(dims: Sequence[int | str | None]) -> int | str | None:
    wide = [dim for dim in dims if dim != 1]
    if not wide:
        return 1
    numbers = [dim for dim in wide if isinstance(dim, int)]
    if numbers:
        return numbers[0]
    return wide[0] if all(dim == wide[0] for dim in wide) else None
