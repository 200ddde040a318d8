"""Calls in a file that no model needs: named, and never made."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

import normdiag
from normdiag.models.static.suspicious import suspicious


class Runs:
    """Pickled, a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Evaluates:
    def __reduce__(self):
        return eval, ("1 + 1",)


def report_of(path: Path, content: object, **options: bool) -> normdiag.Report:
    torch.save(content, path, **options)
    return normdiag.inspect(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_call_beside_the_weights_is_named_and_not_made(tmp_path: Path, zipped: bool) -> None:
    state = torch.nn.BatchNorm1d(4).state_dict()
    content = {"state_dict": state, "note": Runs(f"touch {tmp_path}/ran"), "more": Evaluates()}
    report = report_of(tmp_path / "net.pt", content, _use_new_zipfile_serialization=zipped)
    (finding,) = [each for each in report.findings if each.rule == "ND112"]
    assert finding.severity == "warning" and finding.layers == ()
    assert "posix.system" in finding.text and "__builtin__.eval" in finding.text
    assert report.verdict == "problem" and len(report.layers) == 1
    assert not (tmp_path / "ran").exists()


def test_a_call_whose_result_is_thrown_away_is_named_too(tmp_path: Path) -> None:
    """Inserted before the object, as attacks on existing files do it."""
    state = {f"bn.{name}": value.numpy() for name, value in torch.nn.BatchNorm1d(4).state_dict().items()}
    plain = pickle.dumps(state, protocol=2)
    call = b"cposix\nsystem\n(X\x04\x00\x00\x00truetR0"
    (tmp_path / "net.pkl").write_bytes(plain[:2] + call + plain[2:])
    assert "ND112" in {each.rule for each in normdiag.inspect(tmp_path / "net.pkl").findings}


def test_what_models_hold_rightfully_is_not_named(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    net[0].register_forward_hook(net[1].eval)  # a bound method: builtins.getattr
    optimizer = torch.optim.Adam(net.parameters())
    checkpoint = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "path": Path("/data"),
        "dtype": torch.float16,
    }
    for name, content in (("module.pt", net), ("checkpoint.pt", checkpoint)):
        assert "ND112" not in {each.rule for each in report_of(tmp_path / name, content).findings}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("posix.system", True),
        ("nt.system", True),
        ("subprocess.Popen", True),
        ("builtins.exec", True),
        ("__builtin__.eval", True),
        ("os.path.join", True),
        ("posixpath.join", False),
        ("builtins.getattr", False),
        ("builtins.set", False),
        ("collections.OrderedDict", False),
        ("torch.load", True),
        ("torch._utils._rebuild_tensor_v2", False),
        ("ostrich.Model", False),
        ("codec.Model", False),
        ("pathlib.PosixPath", False),
    ],
)
def test_names(name: str, expected: bool) -> None:
    assert suspicious([name]) == ((name,) if expected else ())
