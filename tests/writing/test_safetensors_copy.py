"""safetensors files copied with some tensors replaced, read back by the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from normdiag.errors import InputError
from normdiag.writing.weight_files.safetensors_copy import AddedTensor, copy_safetensors


def saved(path: Path) -> dict[str, np.ndarray]:
    values = {
        "b.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "a": np.arange(5, dtype=np.float16),
        "empty": np.zeros((0, 3), np.float32),
        "ids": np.arange(3, dtype=np.int64),
    }
    save_file(values, path, metadata={"format": "pt", "who": "me"})
    return values


def test_only_the_changed_bytes_differ(tmp_path: Path) -> None:
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    values = saved(old)
    rows = -values["b.weight"]
    copy_safetensors(old, new, {"b.weight": lambda: iter(rows)}, {})
    found = load_file(new)
    assert found.keys() == values.keys()
    assert np.array_equal(found["b.weight"], rows)
    assert all(np.array_equal(found[name], values[name]) for name in ("a", "empty", "ids"))
    before, after = old.read_bytes(), new.read_bytes()
    length = int.from_bytes(before[:8], "little")
    assert len(before) == len(after) and before[: 8 + length] == after[: 8 + length]


def test_added_tensors_come_after_the_others(tmp_path: Path) -> None:
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    values = saved(old)
    more = {
        "head": AddedTensor("b.weight", lambda: iter([values["b.weight"] * 2])),
        "half": AddedTensor("a", lambda: iter([values["a"] + 1])),
    }
    copy_safetensors(old, new, {}, more)
    found = load_file(new)
    assert found.keys() == values.keys() | {"head", "half"}
    assert np.array_equal(found["head"], values["b.weight"] * 2)
    assert np.array_equal(found["half"], values["a"] + np.float16(1)) and found["half"].dtype == np.float16
    assert all(np.array_equal(found[name], value) for name, value in values.items())
    with safe_open(new, "np") as file:
        assert file.metadata() == {"format": "pt", "who": "me"}


@pytest.mark.parametrize("count", [2, 4])
def test_too_few_or_too_many_values_are_refused(count: int, tmp_path: Path) -> None:
    old = tmp_path / "old.safetensors"
    saved(old)
    rows = np.ones((count, 4), np.float32)
    with pytest.raises(InputError, match=r"b\.weight"):
        copy_safetensors(old, tmp_path / "new.safetensors", {"b.weight": lambda: iter([rows])}, {})
