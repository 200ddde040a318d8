"""What a file says of its architecture beside its tensors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from normdiag.models.load import read_weights  # noqa: E402
from normdiag.models.static.hints import hints_of  # noqa: E402
from normdiag.models.static.inert import PickledOrderedDict  # noqa: E402


def net() -> Any:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3), torch.nn.ReLU(), torch.nn.Sequential(torch.nn.Identity()))


@pytest.mark.parametrize("zipped", [True, False])
def test_the_modules_that_a_state_dict_lists_are_kept(tmp_path: Path, zipped: bool) -> None:
    torch.save(net().state_dict(), tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
    assert read_weights(tmp_path / "net.pt").hints.modules == {"", "0", "1", "2", "2.0"}


def test_they_lose_the_prefix_that_the_tensors_lose(tmp_path: Path) -> None:
    torch.save({"state_dict": torch.nn.DataParallel(net()).state_dict(), "epoch": 3}, tmp_path / "net.pt")
    assert read_weights(tmp_path / "net.pt").hints.modules == {"", "0", "1", "2", "2.0"}


def test_a_dict_that_a_script_made_lists_none(tmp_path: Path) -> None:
    torch.save(dict(net().state_dict().items()), tmp_path / "net.pt")
    assert not read_weights(tmp_path / "net.pt").hints.modules


def test_names_come_from_where_training_scripts_put_them(tmp_path: Path) -> None:
    held = {
        "arch": "resnet18",
        "args": argparse.Namespace(model="timm/resnet18.a1_in1k", opt="sgd"),
        "hyper_parameters": {"config": {"backbone": "convnext_tiny"}},
        "loss": {"name": "not looked into"},
        "state_dict": net().state_dict(),
    }
    torch.save(held, tmp_path / "net.pt")
    found = read_weights(tmp_path / "net.pt").hints.names
    assert set(found) == {"resnet18", "timm/resnet18.a1_in1k", "convnext_tiny"}


def test_names_come_from_the_metadata_of_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(net().state_dict(), tmp_path / "net.safetensors", {"format": "pt", "architecture": "resnet18"})
    hints = read_weights(tmp_path / "net.safetensors").hints
    assert hints.names == ("resnet18",) and not hints.modules


@pytest.mark.parametrize("state", [None, 3, {"_metadata": [1]}, {"_metadata": {1: 2, (): 3}}, ("_metadata",)])
def test_what_torch_does_not_write_says_nothing(state: Any) -> None:
    weights = PickledOrderedDict()
    weights.state = state
    assert not hints_of({"arch": 7, "model": "x" * 1_000}, weights).names
    assert not hints_of({}, weights).modules


def test_a_file_that_holds_itself_ends() -> None:
    held: dict[str, Any] = {"arch": "resnet18"}
    held["args"] = held["config"] = held["opt"] = held
    assert hints_of(held, None).names == ("resnet18",)
    wide = {"args": {str(index): None for index in range(20_000)} | {"model": "after many"}}
    assert hints_of(wide, None).names == ()
