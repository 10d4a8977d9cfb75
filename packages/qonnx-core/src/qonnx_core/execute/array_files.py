"""Reads the arrays of .npy and .npz files a few rows at a time, so that memory does not grow with the file."""

from __future__ import annotations

import math
import os
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput

Array = NDArray[Any]

_NPY = b"\x93NUMPY"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_ADVICE = "write it with numpy.save(path, x), or numpy.savez(path, x=inputs, y=outputs)"


def spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of parts of at most ``size`` rows; one empty part where there are no rows.

    The last part is no single row where that can be helped: onnxruntime takes the sums over one sample in another
    order than those over several, and its result would depend on how many came before.
    """
    start = 0
    while start < count or not start:
        stop = min(start + size, count)
        if count - stop == 1 and stop - start > 2:
            stop -= 1
        yield start, stop
        if stop == count:
            return
        start = stop


# What numpy raises for a header that is no dictionary with a shape and an element type; it is parsed as a literal.
HEADER_ERRORS = (ValueError, TypeError, OverflowError, IndexError, SyntaxError, tokenize.TokenError)


def _read_header(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether columns come first, and element type; leave the stream behind them."""
    try:
        version = np.lib.format.read_magic(stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers of old versions of numpy
            if version == (1, 0):
                return np.lib.format.read_array_header_1_0(stream)
            if version == (2, 0):
                return np.lib.format.read_array_header_2_0(stream)
    except HEADER_ERRORS as error:
        raise InvalidInput(f"{what}: not an .npz file of numbers, nor an .npy file ({error}); {_ADVICE}.") from error
    raise InvalidInput(f"{what}: is written in version {version} of the format; expected 1 or 2; {_ADVICE}.")


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What a file says about one of its arrays."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool = False

    @property
    def row_bytes(self) -> int:
        """The size of one row: everything under one index of the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class ArrayFile:
    """The arrays of an ``.npy`` file (one, named ``""``) or ``.npz`` file, told apart by their first bytes.

    Attributes:
        headers: shape and element type of each array, by name.
    """

    def __init__(self, path: str | os.PathLike[str], where: str | None = None) -> None:
        """Read the headers.

        Raises:
            InvalidInput: there is no such file, or it holds something else than arrays of numbers; says ``where``.
        """
        self.path = Path(path)
        self.where = where or str(path)
        with self._refused():
            if self.path.exists() and not self.path.is_file() and not self.path.is_dir():
                raise InvalidInput(
                    f"{self.where}: is a pipe or a device; expected a file, which is read in parts. Save the arrays "
                    "first; commands read a pipe as -."
                )
            with self.path.open("rb") as stream:
                start = stream.read(len(_NPY))
            if start == _NPY:
                self._zip = False
                with self.path.open("rb") as stream:
                    self.headers = {"": self._header(stream, "", self.path.stat().st_size)}
            elif start[:4] in _ZIP:
                self._zip = True
                self.headers = self._members()
            else:
                raise InvalidInput(f"{self.where}: not an .npz file of numbers, nor an .npy file; {_ADVICE}.")

    def read(self, name: str) -> Array:
        """Return one array whole."""
        header = self.headers[name]
        if not header.shape:
            with self._open(name) as stream:
                return self._filled(stream, np.empty((), header.dtype), name)
        return next(self.rows({name: name}, max(1, header.shape[0])))[name]

    def rows(self, members: Mapping[str, str], size: int, limit: int | None = None) -> Iterator[dict[str, Array]]:
        """Yield the arrays, under the names that ``members`` maps to theirs, ``size`` rows at a time.

        Only the first ``limit`` rows come, where it is given. Arrays without axes come whole in every part. Files
        without rows give one part without rows.

        Raises:
            InvalidInput: the arrays have different numbers of rows, or the file is damaged.
        """
        headers = {name: self.headers[member] for name, member in members.items()}
        count = self.count(members) if limit is None else min(limit, self.count(members))
        with ExitStack() as stack, self._refused():
            fixed = {name: self.read(member) for name, member in members.items() if not headers[name].shape}
            whole = {
                name: self._columns(members[name])
                for name, header in headers.items()
                if header.shape and header.by_columns
            }
            streams = {
                name: stack.enter_context(self._open(members[name]))
                for name, header in headers.items()
                if name not in fixed and name not in whole
            }
            for start, stop in spans(count, size):
                part: dict[str, Array] = {}
                for name, header in headers.items():
                    if name in fixed:
                        part[name] = fixed[name]
                    elif name in whole:
                        part[name] = np.ascontiguousarray(whole[name][start:stop])
                    else:
                        array = np.empty((stop - start, *header.shape[1:]), header.dtype)
                        part[name] = self._filled(streams[name], array, members[name])
                yield part

    def count(self, members: Mapping[str, str]) -> int:
        """Return the number of rows that these arrays share, 1 where none has rows.

        Raises:
            InvalidInput: they have different numbers of rows.
        """
        counts = {name: self.headers[member].shape[0] for name, member in members.items() if self.headers[member].shape}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise InvalidInput(f"{self.where}: numbers of samples are {found}; expected the same for all. Cut them.")
        return next(iter(counts.values()), 1)

    def _members(self) -> dict[str, ArrayHeader]:
        headers: dict[str, ArrayHeader] = {}
        with zipfile.ZipFile(self.path) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    name = info.filename.removesuffix(".npy")
                    with archive.open(info) as stream:
                        headers[name] = self._header(stream, name, info.file_size)
        if not headers:
            raise InvalidInput(f"{self.where}: holds no arrays; expected an .npz with arrays under names; {_ADVICE}.")
        return headers

    def _header(self, stream: IO[bytes], name: str, size: int) -> ArrayHeader:
        """Return what stands in front of the numbers, and leave the stream behind it; ``size`` is that of the file."""
        what = f"{self.where}: array {name!r}" if name else self.where
        shape, by_columns, dtype = _read_header(stream, what)
        if dtype.kind not in "biuf":
            kind = "Python objects, which are never loaded" if dtype.hasobject else f"elements of type {dtype}"
            raise InvalidInput(f"{what}: holds {kind}; expected numbers. Store it as an array of numbers.")
        data = math.prod(shape) * dtype.itemsize
        if any(dim < 0 for dim in shape) or size - stream.tell() != data:
            raise InvalidInput(
                f"{what}: holds {size - stream.tell()} bytes; expected {data} for shape {shape} of {dtype}. The file "
                "is damaged; write it again."
            )
        return ArrayHeader(shape, dtype, by_columns and len(shape) > 1)

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        """Give a stream that stands in front of the numbers of an array."""
        with ExitStack() as stack:
            if self._zip:
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                info = archive.getinfo(f"{name}.npy")
                stream, size = stack.enter_context(archive.open(info)), info.file_size
            else:
                stream, size = stack.enter_context(self.path.open("rb")), self.path.stat().st_size
            if self._header(stream, name, size) != self.headers[name]:
                raise InvalidInput(f"{self.where}: changed while it was read; expected a file at rest. Run again.")
            yield stream

    def _columns(self, name: str) -> Array:
        """Return an array that is stored by columns: mapped into memory, or read whole out of an archive."""
        if not self._zip:
            empty = not math.prod(self.headers[name].shape)
            mapped: Array = np.load(self.path, mmap_mode=None if empty else "r", allow_pickle=False)
            return mapped
        header = self.headers[name]
        with self._open(name) as stream:
            return self._filled(stream, np.empty(header.shape[::-1], header.dtype), name).T

    def _filled(self, stream: IO[bytes], array: Array, name: str) -> Array:
        """Return the array with the next numbers of the stream in it."""
        if array.size:
            target = memoryview(array.reshape(-1).view(np.uint8).data)
            done = 0
            while done < len(target):
                block = stream.read(min(len(target) - done, 2**24))
                if not block:
                    raise InvalidInput(f"{self.where}: array {name!r} ends early; the file is damaged; write it again.")
                target[done : done + len(block)] = block
                done += len(block)
        return array

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """Turn what a missing or damaged file raises into the error of this package."""
        try:
            yield
        except FileNotFoundError as error:
            raise InvalidInput(
                f"{self.where}: found nothing; expected an .npy or .npz file. Check the path."
            ) from error
        except (ValueError, EOFError, RuntimeError, KeyError, NotImplementedError) as error:
            raise InvalidInput(
                f"{self.where}: not an .npz file of numbers, nor an .npy file ({error}); {_ADVICE}."
            ) from error
        except (zipfile.BadZipFile, zlib.error) as error:
            raise InvalidInput(f"{self.where}: the archive is damaged ({error}); {_ADVICE}.") from error
        except OSError as error:
            raise InvalidInput(f"{self.where}: cannot be read ({error.strerror}); expected a readable file.") from error
