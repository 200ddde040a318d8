"""A seeded random order, and shares of the data: every sample once, with its label, whatever the kind of file."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from normdiag.data import DataOptions
from normdiag.data.items import as_batches
from normdiag.data.source import open_data
from normdiag.errors import InputError
from normdiag.records import InputSpec, carries_state

TOTAL = 23
X = np.arange(TOTAL * 4, dtype=np.float32).reshape(TOTAL, 4)


def npy(folder: Path) -> Path:
    np.save(folder / "x.npy", X)
    return folder / "x.npy"


def fortran(folder: Path) -> Path:
    np.save(folder / "f.npy", np.asfortranarray(X))
    return folder / "f.npy"


def npz(folder: Path) -> Path:
    np.savez_compressed(folder / "x.npz", x=X, y=np.arange(TOTAL))
    return folder / "x.npz"


def idx(folder: Path) -> Path:
    head = struct.pack(">HBBII", 0, 13, 2, TOTAL, 4)
    (folder / "x.gz").write_bytes(gzip.compress(head + X.astype(">f4").tobytes()))
    return folder / "x.gz"


def tensors(folder: Path) -> Path:
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.from_numpy(X.copy()), "y": torch.arange(TOTAL)}, folder / "x.pt")
    return folder / "x.pt"


def images(folder: Path) -> Path:
    for index in range(TOTAL):
        (folder / f"images/{index % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), 4 * index, np.uint8)).save(folder / f"images/{index % 2}/{index}.png")
    return folder / "images"


MAKERS = [npy, fortran, npz, idx, tensors, images]


def read(path: Path, **options: object) -> tuple[list[int], list[int], list[int]]:
    """The indexes of the samples in the order read, their labels, and the sizes of the batches."""
    found, labels, sizes = [], [], []
    for batch in open_data([str(path)], DataOptions(batch_size=5, preprocess="raw", **options), ()):  # type: ignore[arg-type]
        found += [int(value) // 4 for value in batch.arrays[0].reshape(batch.size, -1)[:, 0]]
        labels += [] if batch.labels is None else batch.labels.tolist()
        sizes.append(batch.size)
    return found, labels, sizes


@pytest.mark.parametrize("make", MAKERS)
def test_a_random_order_has_every_sample_once(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    found, labels, sizes = read(path, shuffled=True)
    assert sorted(found) == list(range(TOTAL)) and found != sorted(found) and sizes == [5, 5, 5, 8]
    assert labels in ([], found, [index % 2 for index in found])
    assert read(path, shuffled=True)[0] == found != read(path, shuffled=True, seed=1)[0]
    assert sorted(read(path)[0]) == list(range(TOTAL))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("count", [2, 4, 30])
def test_shares_are_disjoint_and_complete(
    tmp_path: Path, make: Callable[[Path], Path], shuffled: bool, count: int
) -> None:
    path = make(tmp_path)
    shares = [read(path, shuffled=shuffled, shard=(index, count))[0] for index in range(count)]
    assert sorted(chain(*shares)) == list(range(TOTAL))
    assert max(map(len, shares)) - min(map(len, shares)) <= 8


def test_the_first_samples_are_a_random_choice(tmp_path: Path) -> None:
    path = npy(tmp_path)
    found = read(path, shuffled=True, max_samples=8)[0]
    assert len(found) == 8 and max(found) > 8
    shares = [read(path, shuffled=True, max_samples=8, shard=(index, 3))[0] for index in range(3)]
    assert sorted(chain(*shares)) == sorted(found)


def test_random_data_is_shared_out_by_batches() -> None:
    def read_random(**options: object) -> list[bytes]:
        given = DataOptions(batch_size=5, input_shapes=("3",), max_samples=20, **options)  # type: ignore[arg-type]
        return [row.tobytes() for batch in open_data(["random"], given, ()) for row in batch.arrays[0]]

    assert sorted(read_random(shard=(0, 2)) + read_random(shard=(1, 2))) == sorted(read_random())


def test_user_code_shares_out_its_own(tmp_path: Path) -> None:
    (tmp_path / "loader.py").write_text("import numpy as np\ndef load():\n    yield np.ones((3, 2), np.float32)\n")
    given = DataOptions(shard=(1, 2), shuffled=True)
    assert [batch.size for batch in open_data([f"{tmp_path / 'loader.py'}:load"], given, ())] == [3]


def test_inputs_that_carry_state_are_read_as_they_lie(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=X, h0=X + 1)
    inputs = [InputSpec("x", "float32", (None, 4)), InputSpec("h0", "float32", (None, 4))]
    source = open_data([str(tmp_path / "s.npz")], DataOptions(shuffled=True), inputs)
    assert np.array_equal(np.concatenate([batch.arrays[0] for batch in source]), X)
    assert source.info.notes == ("read in order: the input 'h0' carries state from sample to sample",)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("x", "h"), "h"),
        (("audio", "state"), "state"),
        (("ids", "past_key_values.0.key"), "past_key_values.0.key"),
        (("x", "encoder.c0"), "encoder.c0"),
        (("hidden",), None),
        (("image", "mask"), None),
        (("input_ids", "attention_mask", "token_type_ids"), None),
        (("patch", "depth"), None),
    ],
)
def test_names_of_state(names: tuple[str, ...], found: str | None) -> None:
    assert carries_state(names) == found


@pytest.mark.parametrize("shuffled", [True, False])
def test_what_is_not_finite_is_named_by_its_place_in_the_file(shuffled: bool, tmp_path: Path) -> None:
    broken = X.copy()
    broken[17, 2] = np.nan
    np.save(tmp_path / "x.npy", broken)
    with pytest.raises(InputError, match="sample 17 holds NaN"):
        list(open_data([str(tmp_path / "x.npy")], DataOptions(shuffled=shuffled, batch_size=5)))
    with pytest.raises(InputError, match="sample 17 holds NaN"):
        list(as_batches(broken, batch_size=5, seed=0 if shuffled else None))


class Samples:
    """A map-style data set, as torch.utils.data.Dataset."""

    def __len__(self) -> int:
        return TOTAL

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return X[index], index % 5


def test_a_data_set_of_single_samples_is_read_in_a_random_order_with_its_labels() -> None:
    batches = list(as_batches(Samples(), batch_size=8, seed=0))
    places = np.random.default_rng(0).permutation(TOTAL)
    assert [batch.size for batch in batches] == [8, 8, 7]
    assert np.array_equal(np.concatenate([batch.arrays[0] for batch in batches]), X[places])
    assert np.array_equal(np.concatenate([batch.labels for batch in batches if batch.labels is not None]), places % 5)
    (whole,) = as_batches({"a": X, "b": X + 1}, batch_size=TOTAL, seed=0)
    assert np.array_equal(whole.arrays[0], X[places]) and np.array_equal(whole.arrays[1], X[places] + 1)


def test_samples_that_are_no_arrays_are_refused_in_a_line() -> None:
    with pytest.raises(InputError, match="samples of type str"):
        list(as_batches(_Words(), batch_size=2))


class _Words(Samples):
    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        return "word"
