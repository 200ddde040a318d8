"""Checkpoints of torch.distributed.checkpoint, against torch's own reader, and what may not be in one."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import normdiag
from normdiag.errors import InputError
from normdiag.models.static import read_static

torch = pytest.importorskip("torch")
dcp = pytest.importorskip("torch.distributed.checkpoint")
from torch.distributed.checkpoint import filesystem, metadata  # noqa: E402
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save  # noqa: E402


def net() -> Any:
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    made(torch.randn(4, 3, 8, 8))
    return made


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """As a training loop saves it, with the optimizer and a number."""
    made = net()
    optimizer = torch.optim.Adam(made.parameters())
    made(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = {"model": made.state_dict(), "optimizer": optimizer.state_dict(), "step": 5}
    dcp.save(state, checkpoint_id=tmp_path / "dcp", no_dist=True)
    return tmp_path / "dcp"


def in_parts(folder: Path, weight: Any) -> Path:
    """A checkpoint of one tensor (6, 4) in three parts of two files, as ranks that share it would leave it."""
    folder.mkdir()
    pieces, storage, chunks = {"__0_0.distcp": b"", "__1_0.distcp": b""}, {}, []
    for rows, columns, name in ((slice(0, 3), slice(0, 4), "__0_0.distcp"),
                                (slice(3, 6), slice(0, 1), "__1_0.distcp"),
                                (slice(3, 6), slice(1, 4), "__1_0.distcp")):  # fmt: skip
        part, buffer = weight[rows, columns].clone(), io.BytesIO()
        torch.save(part, buffer)
        offsets = torch.Size((rows.start, columns.start))
        place = filesystem._StorageInfo(name, len(pieces[name]), len(buffer.getvalue()))
        storage[metadata.MetadataIndex("model.weight", offsets)] = place
        chunks.append(metadata.ChunkStorageMetadata(offsets, part.shape))
        pieces[name] += buffer.getvalue()
    properties = metadata.TensorProperties(dtype=weight.dtype)
    tensor = metadata.TensorStorageMetadata(properties, weight.shape, chunks)
    about = metadata.Metadata({"model.weight": tensor}, {"model.weight": ("model", "weight")}, storage)
    (folder / ".metadata").write_bytes(pickle.dumps(about))
    for name, data in pieces.items():
        (folder / name).write_bytes(data)
    return folder


def test_the_tensors_are_those_that_torch_reads(saved: Path, tmp_path: Path) -> None:
    found = read_static(saved, "torch-distributed").tensors
    dcp_to_torch_save(saved, tmp_path / "whole.pt")
    expected = torch.load(tmp_path / "whole.pt", weights_only=False)["model"]
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], value.numpy()) for name, value in expected.items())
    report = normdiag.inspect(saved)
    assert [each.layer.kind for each in report.layers] == ["batch_norm"]
    assert report.model.format == "torch-distributed" and report.model.size_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_of_several_files_are_put_together(dtype: Any, tmp_path: Path) -> None:
    weight = torch.arange(24).reshape(6, 4).to(dtype)
    folder = in_parts(tmp_path / "dcp", weight)
    dcp_to_torch_save(folder, tmp_path / "whole.pt")
    assert torch.equal(torch.load(tmp_path / "whole.pt")["model"]["weight"], weight)  # torch takes it for one, too
    found = read_static(folder, "torch-distributed").tensors["weight"]
    assert np.array_equal(found.astype(np.float32), weight.float().numpy())


class Hostile:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch EXECUTED",)


def changed(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """A change of what the .metadata holds."""

    def apply(folder: Path) -> None:
        about = pickle.loads((folder / ".metadata").read_bytes())
        (folder / ".metadata").write_bytes(pickle.dumps(change(about)))

    return apply


def moved(about: Any, **values: Any) -> Any:
    for place in about.storage_data.values():
        for name, value in values.items():
            object.__setattr__(place, name, value)
    return about


def cut(folder: Path) -> None:
    part = folder / "__1_0.distcp"
    part.write_bytes(part.read_bytes()[:-300])


def without_a_chunk(about: Any) -> Any:
    about.state_dict_metadata["model.weight"].chunks.pop()
    return about


def enlarged(about: Any) -> Any:
    about.state_dict_metadata["model.weight"].chunks[0].sizes = torch.Size((300000, 400000))
    return about


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (changed(lambda _: Hostile()), "is none of torch.distributed.checkpoint"),
        (changed(lambda about: {"storage_data": about}), "is none of torch.distributed.checkpoint"),
        (changed(lambda about: moved(about, relative_path="../__0_0.distcp")), "no file beside it"),
        (changed(lambda about: moved(about, relative_path="/etc/passwd")), "no file beside it"),
        (changed(lambda about: moved(about, relative_path="none.distcp")), "cannot be read"),
        (changed(lambda about: moved(about, offset=1 << 60)), "beyond the end"),
        (changed(lambda about: moved(about, length=-5)), "beyond the end"),
        (changed(lambda about: moved(about, relative_path=Hostile())), "nowhere"),
        (changed(lambda about: moved(about, transform_descriptors=["zstd"])), "compressed"),
        (changed(without_a_chunk), "only in part"),
        (changed(enlarged), "does not say where"),
        (cut, "beyond the end"),
        (lambda folder: (folder / ".metadata").write_bytes(b"\x80\x04]"), "."),
    ],
)  # fmt: skip
def test_nothing_runs_and_one_line_says_what_is_wrong(
    damage: Callable[[Path], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = in_parts(tmp_path / "dcp", torch.zeros(6, 4))
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        read_static(folder, "torch-distributed")
    assert "\n" not in str(caught.value) and not (tmp_path / "EXECUTED").exists()


def test_statistics_are_not_written_into_many_files(saved: Path, tmp_path: Path) -> None:
    code = tmp_path / "net.py"
    code.write_text(
        "from torch import nn\ndef Net():\n    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))\n"
    )
    reading = normdiag.LoadOptions(arch=f"{code}:Net")
    given = np.random.default_rng(0).normal(size=(64, 3, 8, 8)).astype(np.float32)
    assert normdiag.inspect(saved, given, load_options=reading).layers[0].drift is not None
    with pytest.raises(InputError, match=r"make it one file with `python -m .*dcp_to_torch"):
        normdiag.recalibrate(saved, given, output=tmp_path / "out.pt", load_options=reading)
