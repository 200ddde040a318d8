"""Modules from the user's code, their weights, and files that are trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn

from normdiag.errors import InputError, NormdiagError
from normdiag.models import LoadOptions, load
from normdiag.models.pytorch import build_arch, load_trusted, load_weights
from normdiag.models.static import StaticFile

CODE = """
from torch import nn
import neighbour_of_net

class Net(nn.Module):
    def __init__(self, features=3, label="none"):
        super().__init__()
        self.label = label
        self.bn = nn.BatchNorm1d(features)

def broken():
    raise RuntimeError("no such backbone")

def number():
    return 3

READY = Net()
"""


@pytest.fixture
def net_py(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "neighbour_of_net.py").write_text("")
    return tmp_path / "net.py"


def test_a_factory_gets_literals_and_strings(net_py: Path) -> None:
    net = build_arch(f"{net_py}:Net", ("features=5", "label=resnet-50"))
    assert (net.bn.num_features, net.label) == (5, "resnet-50")
    assert build_arch(f"{net_py}:READY").bn.num_features == 3
    assert isinstance(build_arch("torch.nn:Identity"), nn.Identity)


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("net.py:Nett", (), "Net"),
        ("nets.py:Net", (), "no file"),
        ("net.py:broken", (), "RuntimeError: no such backbone"),
        ("net.py:Net", ("depth=3",), "depth"),
        ("net.py:number", (), "not a torch.nn.Module"),
        ("net.py", (), "file.py:name"),
        ("net.py:Net", ("depth",), "name=value"),
    ],
)
def test_failures_are_one_line(net_py: Path, target: str, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(NormdiagError, match=message) as error:
        build_arch(str(net_py.parent / target), arguments)
    assert "\n" not in str(error.value)


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


def test_weights_are_copied_exactly() -> None:
    torch.manual_seed(0)
    source, target = (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    )
    source[1].running_var.uniform_()
    load_weights(target, StaticFile(arrays(source)))
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])


class Versioned(nn.Module):
    """As torchvision's MNASNet: it refuses weights that do not say which version of its code they are from."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any) -> None:
        if local_metadata.get("version") not in (1, 2):
            raise ValueError("version should be set to 1 or 2")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)  # type: ignore[no-untyped-call]


def test_weights_are_those_of_the_version_of_the_code_that_they_go_into() -> None:
    given = {
        name: np.full(3, 2.0, np.float32) for name in ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    }
    module = Versioned()
    load_weights(module, StaticFile(given))
    assert float(module.bn.running_var[0]) == 2.0 and int(module.bn.num_batches_tracked) == 0


def test_bfloat16_weights_and_old_files_without_a_counter() -> None:
    target = nn.BatchNorm1d(3)
    given = {name: np.full(3, 0.5, ml_dtypes.bfloat16) for name in ("weight", "bias", "running_mean", "running_var")}
    load_weights(target, StaticFile(given))
    assert torch.equal(target.running_var, torch.full((3,), 0.5))


def test_every_misfit_is_listed_and_nothing_is_copied() -> None:
    target = nn.Sequential(*(nn.Linear(2, 2) for _ in range(9)))
    before = arrays(target)
    given = {"0.weight": np.zeros((3, 2), np.float32), "extra": np.zeros(1, np.float32)}
    with pytest.raises(InputError) as error:
        load_weights(target, StaticFile(given))
    text = str(error.value)
    assert "17 missing" in text
    assert "and 12 more" in text
    assert "1 unexpected" in text
    assert "extra" in text
    assert "0.weight is (3, 2) in the file and (2, 2) in the module" in text
    for name, value in arrays(target).items():
        np.testing.assert_array_equal(value, before[name])


def test_trusted_files_of_every_kind(tmp_path: Path) -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval(), torch.randn(2, 3)
    torch.save(net, tmp_path / "whole.pt")
    torch.save({"epoch": 3, "net": net}, tmp_path / "in_a_dict.pt")
    torch.jit.script(net).save(str(tmp_path / "script.pt"))
    torch.export.save(torch.export.export(net, (x,)), tmp_path / "net.pt2")
    files = {
        "whole.pt": "torch-zip",
        "in_a_dict.pt": "torch-zip",
        "script.pt": "torchscript",
        "net.pt2": "torch-export",
    }
    for name, fmt in files.items():
        loaded = load_trusted(tmp_path / name, fmt)
        torch.testing.assert_close(loaded(x), net(x))


def test_trusted_files_that_hold_no_module(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match="--arch"):
        load_trusted(tmp_path / "weights.pt", "torch-zip")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 and no more")
    for fmt in ("torch-zip", "torchscript", "torch-export"):
        with pytest.raises(InputError, match=r"broken\.pt") as error:
            load_trusted(tmp_path / "broken.pt", fmt)
        assert "\n" not in str(error.value)


def test_trusting_a_checkpoint_in_several_files_says_what_it_needs(tmp_path: Path) -> None:
    """torch.load would say that it is a directory."""
    import torch.distributed.checkpoint as dcp

    dcp.save({"model": nn.BatchNorm2d(4).state_dict()}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    for run in (False, True):
        with pytest.raises(InputError, match="dcp: holds weights alone, which --trust cannot run"):
            load(tmp_path / "dcp", LoadOptions(trust=True), run=run)
