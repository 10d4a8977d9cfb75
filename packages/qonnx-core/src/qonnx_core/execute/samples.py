"""Where the samples of a stream come from: arrays, files of arrays, or samples one after the other."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.execute.array_files import ArrayFile, spans
from qonnx_core.execute.inputs import ExpectedInput, as_array

Array = NDArray[Any]
Samples = Array | Mapping[str, Array] | str | os.PathLike[str] | Iterable[Array | Mapping[str, Array]]
Progress = Callable[[int, int | None], None]
"""Called with the number of samples that are done, and of all samples where it is known."""

INPUT_ALIASES = ("x", "input")
"""Names under which a file may hold the input of a model that has one."""
MAX_BATCH = 256
MAX_BATCH_NUMBERS = 2**20


def default_batch_size(shapes: Iterable[Sequence[object]]) -> int:
    """Return how many samples to run at once for inputs of these shapes: a batch stays at about a million numbers."""
    sizes = (math.prod(dim for dim in shape[1:] if isinstance(dim, int)) for shape in shapes)
    return max(1, min(MAX_BATCH, MAX_BATCH_NUMBERS // max(1, max(sizes, default=1))))


class SampleSource(Protocol):
    """Samples that can be read batch after batch, once."""

    @property
    def count(self) -> int | None:
        """The number of samples; None where it is not known ahead."""
        ...

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield up to ``size`` samples after the other, as one array for each input."""
        ...


def open_samples(data: Samples, expected: Sequence[ExpectedInput]) -> SampleSource:
    """Return a source of samples for a model that takes these inputs.

    Raises:
        InvalidInput: nothing fits an input, or a file cannot be read.
    """
    if isinstance(data, str | os.PathLike):
        file = ArrayFile(data)
        return FileSamples(file, file_members(file, [value.name for value in expected]))
    if isinstance(data, np.ndarray):
        return ArraySamples({_only_input(expected): data})
    if isinstance(data, Mapping):
        return ArraySamples({name: as_array(f"samples: input {name}", array) for name, array in data.items()})
    if not isinstance(data, Iterable):
        raise InvalidInput(
            f"samples: found {type(data).__name__}; expected an array, a dictionary of arrays, the path of an .npy or "
            ".npz file, or an iterable of samples. Convert it with numpy.asarray."
        )
    return EachSample(iter(data), tuple(expected))


def _only_input(expected: Sequence[ExpectedInput]) -> str:
    if len(expected) != 1:
        names = ", ".join(value.name for value in expected) or "none"
        raise InvalidInput(f"samples: found one array for inputs {names}; expected a dictionary with one for each.")
    return expected[0].name


def file_members(file: ArrayFile, inputs: Sequence[str]) -> dict[str, str]:
    """Return ``{input: name in the file}``; a single input may also be called ``x`` or ``input``, or be all there is.

    Raises:
        InvalidInput: the file has no array for an input.
    """
    members: dict[str, str] = {}
    for name in inputs:
        choices = [name, *(INPUT_ALIASES if len(inputs) == 1 else ())]
        if len(inputs) == 1 and len(file.headers) == 1:
            choices += file.headers
        found = next((choice for choice in choices if choice in file.headers), None)
        if found is None:
            raise InvalidInput(
                f"{file.where}: no array for the model's input {name}; found "
                f"{', '.join(member or 'an .npy file with one' for member in file.headers)}. Name it so in an .npz."
            )
        members[name] = found
    return members


@dataclass(frozen=True)
class FileSamples:
    """Samples of an ``.npy`` or ``.npz`` file; only one batch is in memory."""

    file: ArrayFile
    members: Mapping[str, str]

    @property
    def count(self) -> int:
        """The number of samples."""
        return self.file.count(self.members)

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield the samples; one batch without samples where the file has none."""
        return self.file.rows(self.members, size)


@dataclass(frozen=True)
class ArraySamples:
    """Samples of arrays, which may be mapped from a file; arrays without axes belong to every sample."""

    arrays: Mapping[str, Array]

    @property
    def count(self) -> int:
        """The number of samples."""
        counts = {name: array.shape[0] for name, array in self.arrays.items() if array.ndim}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise InvalidInput(f"samples: numbers are {found}; expected the same for all inputs. Cut them.")
        return next(iter(counts.values()), 1)

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield slices; one without samples where there are none."""
        for start, stop in spans(self.count, size):
            yield {name: x[start:stop] if x.ndim else x for name, x in self.arrays.items()}


@dataclass(frozen=True)
class EachSample:
    """Samples that come one after the other, each an array, or a dictionary of arrays, without the batch axis."""

    samples: Iterator[Any]
    expected: tuple[ExpectedInput, ...]
    count: None = None

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield stacked samples until there are no more."""
        done = 0
        while group := [self._sample(sample, done + k) for k, sample in enumerate(islice(self.samples, size))]:
            yield {name: self._stacked(name, [sample[name] for sample in group], done) for name in group[0]}
            done += len(group)

    def _sample(self, sample: object, number: int) -> dict[str, Array]:
        if not isinstance(sample, Mapping):
            return {_only_input(self.expected): as_array(f"sample {number}", sample)}
        names = [value.name for value in self.expected]
        if set(sample) != set(names):
            raise InvalidInput(
                f"sample {number}: found {', '.join(map(str, sample)) or 'none'}; expected exactly {', '.join(names)}. "
                "Give one array for each input."
            )
        return {name: as_array(f"sample {number}: input {name}", sample[name]) for name in names}

    def _stacked(self, name: str, arrays: list[Array], first: int) -> Array:
        for number, array in enumerate(arrays):
            if array.shape != arrays[0].shape:
                raise InvalidInput(
                    f"sample {first + number}: input {name} has shape {array.shape}; expected {arrays[0].shape}, as "
                    f"sample {first}. Bring all samples to one shape."
                )
        return np.stack(arrays)
