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
from normdiag.data.source import open_data

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
