"""Labels beside the data: where they are found, that they stay with their samples, and what is not taken for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from normdiag.data import DataOptions
from normdiag.data.items import as_batches
from normdiag.data.source import open_data
from normdiag.observe.passes import fit
from normdiag.records import Batch

X = np.arange(14, dtype=np.float32).reshape(7, 2)
Y = np.array([3, 1, 4, 1, 5, 9, 2])


def labels_of(batches: Any) -> list[int] | None:
    found = [batch.labels for batch in batches]
    return None if any(each is None for each in found) else np.concatenate(found).tolist()


def read_labels(path: Path) -> list[int] | None:
    return labels_of(open_data([str(path)], DataOptions(batch_size=3), ()))


@pytest.mark.parametrize("name", ["y", "labels", "target"])
@pytest.mark.parametrize("labels", [Y, Y.astype(np.uint8), Y[:, None]])
def test_of_an_npz(tmp_path: Path, name: str, labels: np.ndarray) -> None:
    np.savez(tmp_path / "d.npz", **{"x": X, name: labels})
    assert read_labels(tmp_path / "d.npz") == Y.tolist()


@pytest.mark.parametrize("labels", [Y[:6], Y.astype(np.float32), np.stack([Y, Y], 1)])
def test_what_is_no_label(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "d.npz", x=X, y=labels)
    assert read_labels(tmp_path / "d.npz") is None


def test_of_a_tensor_file(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}, tmp_path / "d.pt")
    assert read_labels(tmp_path / "d.pt") == Y.tolist()


def test_of_a_folder_for_each_class(tmp_path: Path) -> None:
    for index, name in enumerate(["dog", "cat", "dog", "bee"]):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / name / f"{index}.png")
    batches = list(open_data([str(tmp_path)], DataOptions(batch_size=3, preprocess="raw"), ()))
    by_red = {int(image[0, 0, 0]): int(label) for b in batches for image, label in zip(b.arrays[0], b.labels)}  # type: ignore[arg-type] # noqa: B905
    assert by_red == {0: 2, 1: 1, 2: 2, 3: 0}  # bee, cat, dog, as torchvision.datasets.ImageFolder numbers them


@pytest.mark.parametrize("folders", [["a"], ["a", "a/b"]])
def test_folders_that_are_no_classes(tmp_path: Path, folders: list[str]) -> None:
    for name in folders:
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.png")
    assert read_labels(tmp_path) is None


@pytest.mark.parametrize(
    "item",
    [(X, Y), [X, Y], (X, Y[:, None]), ((X, X), Y), {"x": X, "labels": Y}, Batch((X,), labels=Y)],
)
def test_of_a_loader(item: Any) -> None:
    assert labels_of(as_batches([item, item])) == [*Y.tolist(), *Y.tolist()]


@pytest.mark.parametrize("item", [X, (X,), (X, X), (X, Y[:3]), (X, Y.astype(float)), (X, "names"), {"x": X}])
def test_of_a_loader_without(item: Any) -> None:
    assert labels_of(as_batches([item])) is None


def test_of_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    assert labels_of(as_batches([(torch.from_numpy(X), torch.from_numpy(Y))])) == Y.tolist()


def test_they_stay_with_their_samples() -> None:
    batch = Batch((X,), labels=Y)
    assert batch.rows(np.array([2, 0])).labels.tolist() == [4, 3]  # type: ignore[union-attr]
    assert labels_of(as_batches([(X, Y), (X, Y)], max_samples=9)) == [*Y.tolist(), 3, 1]

    class Fixed:
        fixed_batch = 2

    assert labels_of(fit([batch], Fixed())) == Y[:6].tolist()  # type: ignore[arg-type]
