"""Streams of samples: from arrays, files and iterables, batch after batch, with the bits of one run."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qonnx_core
from qonnx_core.errors import InvalidInput
from qonnx_core.execute.array_files import ArrayFile, spans
from qonnx_core.formats.reader import from_proto

HEAD = '<ir_version: 8, opset_import: ["": 18, "qonnx.custom_op.general": 1]>'
ONE = """g (float[N, 3] x) => (float[N, 3] y, float[2] c)
<float[2] k = {1, 2}, float s = {0.5}, float z = {0}, float b = {4}>
{ q = qonnx.custom_op.general.Quant(x, s, z, b) y = Neg(q) c = Neg(k) }"""
TWO = "g (float[N, 3] x, float[N] w, float k) => (float[N, 3] y) { p = Mul(x, k) u = Unsqueeze(w, a) y = Add(p, u) }"
X = np.random.default_rng(0).normal(0, 2, (10, 3)).astype(np.float32)
W = np.arange(10, dtype=np.float32)
K = np.float32(3)


def compiled(body: str = ONE) -> qonnx_core.CompiledModel:
    body = body.replace("{ p =", "<int64[1] a = {1}> { p =")
    return qonnx_core.compile_model(from_proto(onnx.parser.parse_model(HEAD + body)))


def saved(folder: Path, save: Callable[..., object], **arrays: np.ndarray) -> Path:
    path = folder / "data"
    with path.open("wb") as stream:
        save(stream, **arrays) if "arr" not in arrays else save(stream, arrays["arr"])
    return path


SOURCES: dict[str, Callable[[Path], object]] = {
    "array": lambda folder: X,
    "dictionary": lambda folder: {"x": X},
    "mapped": lambda folder: np.load(saved(folder, np.save, arr=X).rename(folder / "x.npy"), mmap_mode="r"),
    "npy": lambda folder: saved(folder, np.save, arr=X),
    "npy by columns": lambda folder: saved(folder, np.save, arr=np.asfortranarray(X)),
    "npz": lambda folder: saved(folder, np.savez, x=X, other=W),
    "npz by columns": lambda folder: saved(folder, np.savez, x=np.asfortranarray(X), other=W),
    "packed npz": lambda folder: saved(folder, np.savez_compressed, x=X),
    "npz with one array": lambda folder: saved(folder, np.savez, pixels=X),
    "big-endian npz": lambda folder: saved(folder, np.savez, x=X.astype(">f4")),
    "samples": lambda folder: iter(X),
    "dictionaries": lambda folder: ({"x": sample} for sample in X),
    "lists": lambda folder: [sample.tolist() for sample in X.astype(np.float64)],
}


@pytest.mark.parametrize("size", [1, 4, 10, 64])
@pytest.mark.parametrize("source", list(SOURCES))
def test_every_source_gives_the_bits_of_one_run(source: str, size: int, tmp_path: Path) -> None:
    model = compiled()
    seen: list[tuple[int, int | None]] = []
    parts = list(model.stream(SOURCES[source](tmp_path), batch_size=size, intermediates=["q"],
                              progress=lambda done, count: seen.append((done, count))))  # fmt: skip
    whole = model.run({"x": X}, ["q"])
    for name in ("y", "q"):
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])
    assert all(part["c"].tolist() == [-1, -2] for part in parts)
    known = source not in ("samples", "dictionaries", "lists")
    assert seen == [(min(10, start + size), 10 if known else None) for start in range(0, 10, size)]


@pytest.mark.parametrize(
    ("count", "size", "parts"),
    [
        (9, 4, [(0, 4), (4, 7), (7, 9)]),
        (8, 4, [(0, 4), (4, 8)]),
        (10, 4, [(0, 4), (4, 8), (8, 10)]),
        (4, 3, [(0, 2), (2, 4)]),
        (3, 2, [(0, 2), (2, 3)]),
        (3, 1, [(0, 1), (1, 2), (2, 3)]),
        (1, 4, [(0, 1)]),
        (0, 4, [(0, 0)]),
    ],
)
def test_the_last_part_is_no_single_sample(count: int, size: int, parts: list[tuple[int, int]]) -> None:
    assert list(spans(count, size)) == parts


def test_inexact_sums_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    proto = onnx.parser.parse_model(HEAD + "g (float[N, 64] x) => (float[N, 16] y) { y = MatMul(x, w) }")
    weights = generator.normal(size=(64, 16)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    model = qonnx_core.compile_model(from_proto(proto))
    x = generator.normal(size=(33, 64)).astype(np.float32)
    whole = model.run({"x": x})["y"]
    for source in (x, saved(tmp_path, np.savez_compressed, x=x)):
        for size in (4, 8, 16, 32, 33):
            parts = [part["y"] for part in model.stream(source, batch_size=size)]
            np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_several_inputs_are_cut_alike_and_one_without_axes_is_whole(tmp_path: Path) -> None:
    model = compiled(TWO)
    given = {"x": X, "w": W, "k": K}
    expected = model.run(given)["y"]
    for source in (given, saved(tmp_path, np.savez, **given)):
        found = np.concatenate([part["y"] for part in model.stream(source, batch_size=3)])
        np.testing.assert_array_equal(found, expected)


def test_a_file_without_samples_gives_one_batch_without_samples(tmp_path: Path) -> None:
    for source in (X[:0], saved(tmp_path, np.save, arr=X[:0]), saved(tmp_path, np.savez, x=X[:0])):
        (part,) = compiled().stream(source)
        assert part["y"].shape == (0, 3)
    assert list(compiled().stream(iter(()))) == []


def test_a_model_with_a_batch_of_two_takes_batches_of_two() -> None:
    body = "g (float[2, 3] x) => (float[2, 3] y) <int64[1] a = {0}> { m = ReduceMax<keepdims = 1>(x, a) y = Sub(x, m) }"
    model = compiled(body)
    parts = list(model.stream(X, batch_size=5))
    assert [len(part["y"]) for part in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([part["y"] for part in parts]), model.run({"x": X})["y"])


def test_an_endless_source_is_read_as_far_as_asked() -> None:
    def samples() -> object:
        number = 0
        while True:
            assert number < 12
            yield np.full(3, number, np.float32)
            number += 1

    stream = compiled().stream(samples(), batch_size=4)
    assert [next(stream)["y"][0, 0] for _ in range(3)] == [0, -3.5, -3.5]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, r"samples: found int; expected an array, a dictionary"),
        ({"z": X}, r"inputs: found 'z'; expected exactly 'x'"),
        ({"x": np.float64(X) / 3}, r"input x: holds float64 values that float32 cannot hold"),
        ([X[0], X[1, :2]], r"sample 1: input x has shape \(2,\); expected \(3,\), as sample 0"),
        ([{"x": X[0]}, {"z": X[0]}], r"sample 1: found z; expected exactly x"),
        (X[:, :2], r"input x: has shape \(10, 2\); expected \(N, 3\)"),
        (["a", "b"], r"input x: has element type <U1; expected float32"),
        ("nothing.npz", r"nothing.npz: found nothing; expected an .npy or .npz file"),
    ],
)
def test_data_that_do_not_fit_are_refused(data: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        list(compiled().stream(data))


def test_rows_of_different_lengths_are_no_array() -> None:
    """They came back as an error of NumPy, and one array without a name as another."""
    ragged: list[object] = [[1, 2, 3], [1, [2], 3]]
    for data in ([X[0], ragged], iter(ragged)):
        with pytest.raises(InvalidInput, match=r"sample 1: is no array .*; expected rows of one length"):
            list(compiled().stream(data))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"samples: input x: is no array"):
        list(compiled().stream({"x": ragged}))  # type: ignore[dict-item]
    with pytest.raises(InvalidInput, match=r"input x: is no array"):
        compiled().run({"x": ragged})  # type: ignore[dict-item]
    with pytest.raises(InvalidInput, match=r"inputs: found ndarray; expected a dictionary .* such as \{'x': x\}"):
        compiled().run(X)  # type: ignore[arg-type]


def test_inputs_have_to_have_as_many_samples(tmp_path: Path) -> None:
    given = {"x": X, "w": W[:4], "k": K}
    for source in (given, saved(tmp_path, np.savez, **given)):
        with pytest.raises(InvalidInput, match=r"numbers.* are x 10, w 4; expected the same for all"):
            list(compiled(TWO).stream(source))
    with pytest.raises(InvalidInput, match=r"found one array for inputs x, w, k; expected a dictionary"):
        compiled(TWO).stream(X)


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="batch size: found 0; expected 1 or more"):
        compiled().stream(X, batch_size=0)


def _npz(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def _npy(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an .npz file of numbers, nor an .npy file"),
        (b"text", "not an .npz file of numbers, nor an .npy file"),
        (b"\x93NUMPY\x09\x00", r"is written in version \(9, 0\) of the format; expected 1 or 2"),
        (_npy(X)[:40], "not an .npz file of numbers"),
        (_npy(X)[:-4], r"holds 116 bytes; expected 120 for shape \(10, 3\) of float32. The file is damaged"),
        (_npy(X) + b"more", "holds 124 bytes; expected 120"),
        (_npy(X).replace(b"(10, 3)", b"(99, 3)"), "holds 120 bytes; expected 1188"),
        (_npy(X).replace(b"(10, 3)", b"(-1, 3)"), "The file is damaged"),
        (_npy(np.asarray([None, 1]), allow_pickle=True), "holds Python objects, which are never loaded"),
        (_npy(np.asarray(["a"])), "holds elements of type <U1; expected numbers"),
        (_npy(np.ones(3, np.complex64)), "holds elements of type complex64; expected numbers"),
        (_npz("a.txt", b""), "holds no arrays"),
        (_npz("x.npy", _npy(np.asarray([None]), allow_pickle=True)), "array 'x': holds Python objects"),
        (_npz("x.npy", _npy(X)[:-4]), "array 'x': holds 116 bytes"),
        (_npz("x.npy", _npy(X))[:-30], "the archive is damaged"),
        (_npz("x.npy", _npy(X)).replace(X.tobytes()[:8], b"damaged!"), "the archive is damaged"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        list(compiled().stream(path))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        compiled().stream(tmp_path)


def test_a_file_without_the_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no array for the model's input w; found x, v. Name it so"):
        compiled(TWO).stream(saved(tmp_path, np.savez, x=X, v=W))
    with pytest.raises(InvalidInput, match=r"no array for the model's input x; found an .npy file with one"):
        compiled(TWO).stream(saved(tmp_path, np.save, arr=X))


MEMORY = """
import sys, numpy as np, onnx.parser, qonnx_core
from qonnx_core.formats.reader import from_proto
from qonnx_core.testing.memory import peak_bytes
body = "g (float[N, 1000] x) => (float[N, 1000] y) { y = Relu(x) }"
model = from_proto(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 18]>' + body))
compiled = qonnx_core.compile_model(model)
for part in compiled.stream(np.zeros((8, 1000), np.float32), batch_size=8): pass
before = peak_bytes()
total = sum(float(part["y"].sum()) for part in compiled.stream(sys.argv[1], batch_size=100))
print(peak_bytes() - before, total)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of the memory from /proc")
def test_memory_is_that_of_a_batch_and_not_of_the_file(tmp_path: Path) -> None:
    """A packed archive of 80 MB of samples; a batch has 0.4 MB."""
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.ones((20000, 1000), np.float32))
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    taken, total = done.stdout.split()
    assert float(total) == 20_000_000
    assert int(taken) < 20_000_000


SEEDS = [_npy(X), _npy(np.asfortranarray(X)), _npz("x.npy", _npy(X)), _npy(np.zeros((), np.int64)), _npy(X[:0])]
PIECES = [b"(", b"'", b"[", b"{", b"L", b"\n", b"|O", b"None", b"-1", b"9" * 20, b"\x00", b"descr", b"\\", b'"""', b"#"]


@settings(derandomize=True, deadline=None, max_examples=400)
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 4), st.one_of(st.sampled_from(PIECES), st.binary(max_size=3))),
        min_size=1,
        max_size=4,
    ),
)
def test_a_damaged_file_is_read_or_refused(
    seed: bytes, changes: list[tuple[int, int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = seed
    for place, removed, piece in changes:
        content = content[:place] + piece + content[place + removed :]
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    with contextlib.suppress(InvalidInput):
        file = ArrayFile(path)
        for name in file.headers:
            file.read(name)
        for _ in file.rows({name: name for name in file.headers}, 4):
            pass


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    for path in (tmp_path / "pipe.npy", Path("/dev/zero")):
        with pytest.raises(InvalidInput, match="is a pipe or a device; expected a file"):
            ArrayFile(path)
