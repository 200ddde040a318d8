"""Values replaced inside files: torch reads them, and no other byte has changed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from normdiag.errors import InputError
from normdiag.writing.weight_files import open_weights

MEAN = np.array([0.5, -2.25, 3.0])
NAME = "1.running_mean"


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()


def state(path: Path) -> Path:
    torch.save(net().state_dict(), path)
    return path


def legacy(path: Path) -> Path:
    torch.save(net().state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def checkpoint(path: Path) -> Path:
    torch.save({"epoch": 3, "model": net().state_dict(), "optimizer": {"lr": 0.1}}, path)
    return path


def module(path: Path) -> Path:
    torch.save(net(), path)
    return path


def script(path: Path) -> Path:
    torch.jit.save(torch.jit.script(net()), path)  # type: ignore[no-untyped-call]
    return path


def exported(path: Path) -> Path:
    torch.export.save(torch.export.export(net(), (torch.randn(4, 2),)), path.with_suffix(".pt2"))
    return path.with_suffix(".pt2")


def safetensors(path: Path) -> Path:
    save_file(net().state_dict(), path, metadata={"who": "us"})
    return path


ZIPPED = [state, checkpoint, module, script, exported]


def loaded(make: Callable[[Path], Path], path: Path) -> torch.Tensor:
    if make is script:
        return torch.jit.load(path).state_dict()[NAME]  # type: ignore[no-untyped-call]
    if make is exported:
        return torch.export.load(path).state_dict[NAME]
    if make is safetensors:
        from safetensors.torch import load_file

        return load_file(path)[NAME]
    found = torch.load(path, weights_only=False)
    found = found.state_dict() if isinstance(found, nn.Module) else found
    return found.get("model", found)[NAME]


@pytest.mark.exports
@pytest.mark.parametrize("make", [*ZIPPED, legacy, safetensors])
def test_torch_reads_the_new_values(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "m.pt")
    before = path.read_bytes()
    open_weights(path).write({NAME: MEAN}, path.with_name("out"))
    assert loaded(make, path.with_name("out")).tolist() == MEAN.tolist()
    assert path.read_bytes() == before


@pytest.mark.exports
@pytest.mark.parametrize("make", ZIPPED)
def test_every_other_member_of_a_zip_archive_stays(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "m.pt")
    out = path.with_name("out")
    open_weights(path).write({NAME: MEAN}, out)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out) as new:
        assert new.testzip() is None
        assert old.namelist() == new.namelist()
        changed = [name for name in old.namelist() if old.read(name) != new.read(name)]
        assert len(changed) == 1 and new.read(changed[0]) == MEAN.astype("<f4").tobytes()
    differing = sum(a != b for a, b in zip(path.read_bytes(), out.read_bytes(), strict=True))
    assert 0 < differing <= 12 + 8  # three floats, and the checksum in two places


@pytest.mark.parametrize("make", [legacy, safetensors])
def test_no_other_byte_of_the_others_changes(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path / "m.pt")
    open_weights(path).write({NAME: MEAN}, tmp_path / "out")
    old, new = path.read_bytes(), (tmp_path / "out").read_bytes()
    wanted = MEAN.astype("<f4").tobytes()
    at = new.index(wanted)
    assert old[:at] == new[:at] and old[at + 12 :] == new[at + 12 :]
    if make is safetensors:
        header = json.loads(new[8 : 8 + int.from_bytes(new[:8], "little")])
        assert header["__metadata__"] == {"who": "us"}


def test_archives_whose_checksums_stand_in_front(tmp_path: Path) -> None:
    """As other tools than torch write them: no descriptor after the bytes."""
    with zipfile.ZipFile(state(tmp_path / "m.pt")) as old, zipfile.ZipFile(tmp_path / "z.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    open_weights(tmp_path / "z.pt").write({NAME: MEAN}, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out") as made:
        assert made.testzip() is None
    assert loaded(state, tmp_path / "out").tolist() == MEAN.tolist()


def test_nothing_changed_is_a_copy(tmp_path: Path) -> None:
    path = state(tmp_path / "m.pt")
    open_weights(path).write({}, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == path.read_bytes()


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    offset=st.integers(0, 3),
    order=st.randoms(use_true_random=False),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
)
def test_views_of_any_shape_and_order(tmp_path_factory: pytest.TempPathFactory, shape, offset, order, dtype) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("v") / "m.pt"
    axes = list(range(len(shape)))
    order.shuffle(axes)
    whole = torch.arange(offset + 2 * int(np.prod(shape)) + 1, dtype=dtype)
    view = (
        whole[offset:][: 2 * int(np.prod(shape)) : 2].reshape(shape)
        if offset % 2
        else whole[offset:].as_strided(
            [shape[axis] for axis in axes],
            [int(np.prod([shape[b] for b in range(axis + 1, len(shape))])) for axis in axes],
        )
    )
    torch.save({"w": view, "whole": whole}, path)
    new = -1.0 - np.arange(view.numel(), dtype=np.float64).reshape(tuple(view.shape))
    open_weights(path).write({"w": new}, path.with_name("out"))
    got = torch.load(path.with_name("out"))
    assert torch.equal(got["w"], torch.from_numpy(new).to(dtype))
    expected = torch.load(path)
    expected["w"].copy_(torch.from_numpy(new))
    assert torch.equal(got["whole"], expected["whole"])


def test_values_that_the_dtype_cannot_hold(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2, dtype=torch.float16), "v": torch.ones(2)}, tmp_path / "m.pt")
    with pytest.raises(InputError, match="1e\\+05 does not fit into float16"):
        open_weights(tmp_path / "m.pt").write({"w": np.array([1.0, 1e5])}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_edited_in_place(tmp_path: Path) -> None:
    source = state(tmp_path / "m.pt")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "d.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    weights = open_weights(tmp_path / "d.pt")
    assert weights.obstacle(NAME) == f"'{NAME}' is compressed, or lies inside another pickle"
    assert weights.obstacle("1.num_batches_tracked") == "'1.num_batches_tracked' is stored as int64"
    assert weights.obstacle("nobody") == "the file has no tensor 'nobody'"
    with pytest.raises(InputError, match="compressed"):
        weights.write({NAME: MEAN}, tmp_path / "out")


def test_two_values_for_one_place(tmp_path: Path) -> None:
    shared = torch.zeros(3)
    torch.save({"a": shared, "b": shared, "c": torch.ones(2)}, tmp_path / "m.pt")
    weights = open_weights(tmp_path / "m.pt")
    weights.write({"a": MEAN, "b": MEAN}, tmp_path / "out")
    assert torch.load(tmp_path / "out")["b"].tolist() == MEAN.tolist()
    with pytest.raises(InputError, match="same place"):
        weights.write({"a": MEAN, "b": MEAN + 1}, tmp_path / "other")
