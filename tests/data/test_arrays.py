"""Arrays in .npy, .npz and IDX files: what is read, that it is streamed, and what is refused."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.data import DataOptions
from normdiag.data.source import open_data
from normdiag.errors import InputError
from normdiag.records import InputSpec
from tests.data.helpers import floats, pixels, read, whole


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_is_read_in_any_compression_and_order(tmp_path: Path, save: Callable[..., None], order: str) -> None:
    x = np.asarray(floats(37, 3, 5, 4), order=order)  # type: ignore[call-overload]
    save(tmp_path / "data.npz", x=x)
    assert np.array_equal(read(tmp_path / "data.npz", batch_size=8), x)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_read_in_any_order(tmp_path: Path, order: str) -> None:
    x = np.asarray(floats(37, 6), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "data.npy", x)
    batches = list(open_data([str(tmp_path / "data.npy")], DataOptions(batch_size=10)))
    assert [batch.size for batch in batches] == [10, 10, 10, 7]
    assert np.array_equal(whole(batches), x)
    assert all(batch.arrays[0].flags.c_contiguous for batch in batches)


@pytest.mark.parametrize("name", ["renamed.bin", "noending", "wrong.npz"])
def test_the_suffix_does_not_matter(tmp_path: Path, name: str) -> None:
    x = floats(5, 4)
    with (tmp_path / name).open("wb") as file:
        np.save(file, x)
    assert np.array_equal(read(tmp_path / name), x)


@pytest.mark.parametrize(
    ("stored", "given"),
    [(">f4", "float32"), ("<f8", "float32"), ("<f2", "float32"), (">i8", "int64"), ("?", "bool"), ("<i4", "int32")],
)
def test_floats_become_float32_and_other_dtypes_stay(tmp_path: Path, stored: str, given: str) -> None:
    x = (floats(6, 3) * 4).astype(stored)
    np.save(tmp_path / "x.npy", x)
    y = read(tmp_path / "x.npy")
    assert y.dtype == np.dtype(given)
    assert y.dtype.isnative
    assert np.array_equal(y, x.astype(given))


@given(
    rows=st.integers(1, 30),
    rest=st.lists(st.integers(1, 3), max_size=3),
    batch_size=st.integers(1, 40),
    max_samples=st.none() | st.integers(1, 40),
    kind=st.sampled_from(["npy", "npz", "fortran"]),
)
def test_the_batches_put_together_are_the_array(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    rest: list[int],
    batch_size: int,
    max_samples: int | None,
    kind: str,
) -> None:
    x = floats(rows, *rest)
    path = tmp_path_factory.mktemp("data") / "x"
    with path.open("wb") as file:
        if kind == "npz":
            np.savez_compressed(file, x=x)
        else:
            np.save(file, np.asfortranarray(x) if kind == "fortran" else x)
    source = open_data([str(path)], DataOptions(batch_size=batch_size, max_samples=max_samples))
    for _ in range(2):
        batches = list(source)
        assert np.array_equal(whole(batches), x[:max_samples])
        assert max(batch.size for batch in batches) <= batch_size
        assert sum(batch.size for batch in batches) == source.info.total


def test_labels_are_left_aside_and_inputs_are_found_by_name(tmp_path: Path) -> None:
    a, b, y = floats(9, 4), floats(9, 2, seed=1), np.arange(9)
    np.savez(tmp_path / "xy.npz", y=y, x=a)
    assert np.array_equal(read(tmp_path / "xy.npz"), a)
    np.savez(tmp_path / "keras.npz", images=a, labels=y)
    assert np.array_equal(read(tmp_path / "keras.npz"), a)
    np.savez(tmp_path / "two.npz", b=b, y=y, a=a)
    inputs = (InputSpec("a", "float32", (None, 4)), InputSpec("b", "float32", (None, 2)))
    batches = list(open_data([str(tmp_path / "two.npz")], DataOptions(batch_size=4), inputs))
    assert batches[0].names == ("a", "b")
    assert np.array_equal(whole(batches, 0), a)
    assert np.array_equal(whole(batches, 1), b)


def test_labels_of_objects_do_not_matter(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=floats(3, 2), y=np.array(["cat", None, 3], object))
    assert read(tmp_path / "x.npz").shape == (3, 2)


def test_what_cannot_be_chosen_is_listed(tmp_path: Path) -> None:
    np.savez(tmp_path / "many.npz", left=floats(3, 2), right=floats(3, 4))
    with pytest.raises(InputError, match=r"left \(3, 2\) float32, right \(3, 4\) float32; .*'x'"):
        open_data([str(tmp_path / "many.npz")])
    with pytest.raises(InputError, match="wanted: image, mask"):
        open_data([str(tmp_path / "many.npz")], None, [InputSpec(n, "float32", None) for n in ("image", "mask")])
    np.savez(tmp_path / "uneven.npz", a=floats(3, 2), b=floats(4, 2))
    with pytest.raises(InputError, match=r"number of samples \(a: 3, b: 4\)"):
        open_data([str(tmp_path / "uneven.npz")], None, [InputSpec(n, "float32", None) for n in ("a", "b")])


def test_mnist_is_read_from_its_gzipped_idx_file(real: Callable[[str], Path]) -> None:
    path = real("mnist/t10k-images-idx3-ubyte.gz")
    raw = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(10_000, 1, 28, 28)
    x = read(path, max_samples=200)
    assert x.shape == (200, 1, 28, 28)
    np.testing.assert_allclose(x, raw[:200] / 255, rtol=1e-6)


def test_a_plain_idx_file_of_floats_is_read(tmp_path: Path) -> None:
    x = floats(5, 3)
    (tmp_path / "x.idx").write_bytes(bytes([0, 0, 13, 2]) + struct.pack(">2I", 5, 3) + x.astype(">f4").tobytes())
    assert np.array_equal(read(tmp_path / "x.idx"), x)


def test_cifar_is_read_as_it_is(real: Callable[[str], Path]) -> None:
    path = real("cifar10/test_100.npz")
    raw = np.load(path)["x"]
    np.testing.assert_allclose(read(path, batch_size=7), raw.transpose(0, 3, 1, 2) / 255, rtol=1e-6)


@pytest.mark.parametrize("kind", ["npy", "npz", "deflated"])
def test_memory_does_not_grow_with_the_data(tmp_path: Path, kind: str) -> None:
    path, rows = tmp_path / "x", 4000  # 16 MB of uint8; a batch of 32 is 128 kB, or 512 kB as float32
    x = pixels(rows, 64, 64)
    with path.open("wb") as file:
        {"npz": np.savez, "deflated": np.savez_compressed}.get(kind, np.save)(file, x)
    del x
    tracemalloc.start()
    try:
        count = sum(batch.size for batch in open_data([str(path)], DataOptions(preprocess="signed")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == rows
    assert peak < 6e6


def _npy(x: np.ndarray) -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue()


def _npz(x: np.ndarray) -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x)
    return buffer.getvalue()


def _idx(x: np.ndarray) -> bytes:  # type: ignore[type-arg]
    return gzip.compress(bytes([0, 0, 13, 2]) + struct.pack(">2I", *x.shape) + x.astype(">f4").tobytes())


@pytest.mark.parametrize("write", [_npy, _npz, _idx])
@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, write: Callable[..., bytes], percent: int) -> None:
    content = write(floats(40, 10))
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) * percent // 100])
    with pytest.raises(InputError, match="cut"):
        list(open_data([str(path)]))


@pytest.mark.parametrize("write", [_npy, _npz, _idx])
def test_flipped_bytes_are_read_or_refused_but_never_crash(tmp_path: Path, write: Callable[..., bytes]) -> None:
    content = write(floats(40, 10))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(6, min(len(content), 300), 3):
            damaged[position] = rng.integers(0, 256)
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                list(open_data([str(path)]))
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 30


def _header(text: str) -> bytes:
    padded = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded


@pytest.mark.parametrize(
    "shape", ["(1000000000000000,)", "(1, 1000000000000000)", "(4, -1)", "(True, 4)", "(99999999999999999999, 9)"]
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("fortran", ["True", "False"])
def test_a_header_that_claims_too_much_allocates_nothing(
    tmp_path: Path, shape: str, packed: bool, fortran: str
) -> None:
    content = _header(f"{{'descr': '<f8', 'fortran_order': {fortran}, 'shape': {shape}}}") + bytes(64)
    path = tmp_path / "bomb"
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", content)
    else:
        path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="bomb"):
            list(open_data([str(path)]))
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', 'fortran_order': False}",
        "{'descr': '<f8', 'fortran_order': 3, 'shape': (1,)}",
        "__import__('os').system('true')",
        "(" * 9000,
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (8,)}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (8,)}",
        "\x00" * 60,
    ],
)
def test_a_strange_header_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.npy").write_bytes(_header(text) + bytes(64))
    with pytest.raises(InputError, match=r"odd\.npy"):
        list(open_data([str(tmp_path / "odd.npy")]))


def test_a_sample_larger_than_memory_allows_is_refused(tmp_path: Path) -> None:
    """A hole of 5 GiB: the file is as long as its header says, and takes no space on disk."""
    path, size = tmp_path / "hole.npy", 5 << 30
    path.write_bytes(_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': (1, {size})}}"))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    with pytest.raises(InputError, match=r"5\.0 GiB of memory; lower --batch-size"):
        list(open_data([str(path)]))


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path("/nonexistent/trap").read_text, ())


@pytest.mark.parametrize("packed", [False, True])
def test_pickled_objects_are_never_unpickled(tmp_path: Path, packed: bool) -> None:
    x = np.array([Trap(), Trap()], object)
    path = tmp_path / "objects"
    with path.open("wb") as file:
        (np.savez if packed else np.save)(file, x)
    with pytest.raises(InputError, match="pickled Python objects, which are never unpickled"):
        list(open_data([str(path)]))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.float32(3), "single number"),
        (np.zeros((0, 3), np.float32), "empty"),
        (np.zeros((3, 0), np.float32), "empty"),
        (np.zeros((3, 2), np.complex64), "complex64"),
        (np.array(["a", "b"]), "<U1"),
        (np.zeros(3, "datetime64[s]"), "datetime64"),
        (np.zeros(3, [("a", "f4")]), "dtype"),
    ],
)
def test_what_is_no_batch_of_numbers_is_refused(tmp_path: Path, x: np.ndarray, message: str) -> None:  # type: ignore[type-arg]
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match=message):
        list(open_data([str(tmp_path / "x.npy")]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_first_sample_that_is_not_finite_is_named(tmp_path: Path, value: float, dtype: type) -> None:
    x = floats(100, 4).astype(dtype)
    x[71, 2] = value
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match=rf"x\.npy: sample 71 holds {'NaN' if np.isnan(value) else 'infinity'}"):
        list(open_data([str(tmp_path / "x.npy")]))
    assert len(read(tmp_path / "x.npy", max_samples=71)) == 71


def test_doubles_beyond_single_precision_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((2, 2), 1e300))
    with pytest.raises(InputError, match="infinity"):
        list(open_data([str(tmp_path / "x.npy")]))


def test_an_encrypted_or_damaged_member_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=floats(40, 10))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[400] ^= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        list(open_data([str(tmp_path / "x.npz")]))
