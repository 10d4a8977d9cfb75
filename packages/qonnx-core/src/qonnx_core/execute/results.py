"""Writes the results of a stream to a file as they come: memory of a batch, the file whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from qonnx_core.errors import InvalidInput
from qonnx_core.formats.writer import check_target, disk_errors

Array = NDArray[Any]


class ResultWriter:
    """A context in which results are collected, batch after batch, beside the file that they end up in.

    Leaving the context without :meth:`finish`, for example by Ctrl-C, leaves the file as it was before.
    """

    def __init__(self, target: Path | None, count: int, rows: Iterable[str]) -> None:
        """Prepare for ``count`` samples.

        Args:
            target: the ``.npz`` file, or ``.npy`` file for a single result; None where they go to a stream.
            count: the number of all samples.
            rows: names of the results that have a row for each sample; the others are the same in every batch.

        Raises:
            InvalidInput: the target is a folder or a device, or its folder cannot be written.
        """
        if target is not None:
            check_target(target)
        self._target = target
        self._one = target is not None and target.suffix.lower() == ".npy"
        self._count = count
        self._rows = frozenset(rows)
        self._done = 0
        self._streams: dict[str, IO[bytes]] = {}
        self._kinds: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {}
        self._disk = Path(tempfile.gettempdir()) / "results" if target is None else target
        """What errors of the disk name."""
        with disk_errors(self._disk):
            self._scratch = tempfile.TemporaryDirectory(dir=self._disk.parent, prefix=".results-")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what is left has no room either; finish has closed them where all went well
            self._close()
        self._scratch.cleanup()

    def add(self, results: Mapping[str, Array], samples: int) -> None:
        """Take the results of the next samples.

        Raises:
            InvalidInput: a result has no row for each of the samples, so those of several batches cannot be joined; or
                an ``.npy`` file is asked for, but there are several results.
        """
        if self._one and len(results) != 1:
            raise InvalidInput(
                f"{self._target}: is to hold {len(results)} tensors ({', '.join(list(results)[:4])}, ...); an .npy "
                "file holds one. Choose a name that ends with .npz."
            )
        for name, array in results.items():
            whole = samples == self._count and self._done == 0
            if name in self._rows and not whole and (array.ndim == 0 or array.shape[0] != samples):
                raise InvalidInput(
                    f"tensor {name}: has shape {array.shape} for {samples} samples, so the results of several batches "
                    f"cannot be joined; expected the batch on the first axis. Run all {self._count} at once."
                )
            shape = (self._count, *array.shape[1:]) if name in self._rows and not whole else array.shape
            if self._done == 0:
                self._start(name, shape, array.dtype)
            elif name not in self._rows:
                continue
            elif self._kinds[name] != (shape, array.dtype):
                raise InvalidInput(
                    f"tensor {name}: has {array.dtype} of shape {array.shape} after {self._kinds[name][1]} of rows of "
                    f"shape {self._kinds[name][0][1:]}; expected the same in every batch. Run them one by one."
                )
            with disk_errors(self._disk):
                self._streams[name].write(np.ascontiguousarray(array).data if array.size else b"")
        self._done += samples

    def _start(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        if dtype.hasobject:
            raise InvalidInput(f"tensor {name}: holds text; expected numbers. Ask for other tensors.")
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        with disk_errors(self._disk):
            stream = (Path(self._scratch.name) / f"{len(self._streams)}.npy").open("wb")
            self._streams[name], self._kinds[name] = stream, (shape, dtype)
            np.lib.format.write_array_header_1_0(stream, header)

    def finish(self, stream: IO[bytes] | None = None) -> None:
        """Put the file in place, or write the archive to the stream where there is no file.

        Raises:
            InvalidInput: the disk is full; the file is as it was before.
        """
        with disk_errors(self._disk):
            self._close()
            made = self._made()
            if self._target is not None:
                os.replace(made, self._target)
                return
        if stream is not None:
            with made.open("rb") as source:
                shutil.copyfileobj(source, stream, 2**20)

    def _made(self) -> Path:
        """Return the finished file, in the scratch folder."""
        parts = {name: Path(self._scratch.name) / f"{number}.npy" for number, name in enumerate(self._streams)}
        if self._one:
            return next(iter(parts.values()))
        archive = Path(self._scratch.name) / "results.npz"
        with zipfile.ZipFile(archive, "w") as written:
            for name, part in parts.items():
                with (
                    part.open("rb") as source,
                    written.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as to,
                ):
                    shutil.copyfileobj(source, to, 2**20)
                part.unlink()
        return archive

    def _close(self) -> None:
        for stream in self._streams.values():
            stream.close()
