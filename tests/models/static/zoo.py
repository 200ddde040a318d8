"""Networks and files that the tests of the static reader share."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from normdiag.models.sniff import sniff
from normdiag.models.static import StaticFile, read_static


class FunctionalNorm(nn.Module):
    """An RMSNorm that only its call shows, with a parameter of an unusual name."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, [x.shape[-1]], self.scale, 3e-5)


class EveryKind(nn.Module):
    """Every kind of normalization once or more, each with an eps of its own, and a PReLU as a trap."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False),
            nn.BatchNorm2d(8, eps=1e-3, momentum=0.05),
            nn.PReLU(8),
            nn.GroupNorm(2, 8, eps=1e-4),
            nn.InstanceNorm2d(8, eps=2e-5),
            nn.InstanceNorm2d(8, eps=4e-5, affine=True, track_running_stats=True),
        )
        self.ln = nn.LayerNorm((2, 4), eps=1e-6)
        self.rms = nn.RMSNorm(8, eps=1e-7)
        self.functional = FunctionalNorm(8)
        self.fc = nn.Linear(8, 10)
        self.bn = nn.BatchNorm1d(10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x).mean((2, 3))
        x = self.ln(x.reshape(-1, 2, 4)).flatten(1)
        return self.bn(self.fc(self.functional(self.rms(x))))


def trained_net() -> EveryKind:
    """One whose parameters and statistics all differ from what they start with, in eval mode."""
    torch.manual_seed(0)
    net = EveryKind()
    for _ in range(3):
        net(torch.randn(4, 3, 8, 8))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return net.eval()


def read(path: Path, key: str | None = None) -> StaticFile:
    return read_static(path, sniff(path), key)


def rezip(path: Path, compression: int = zipfile.ZIP_STORED, **changes: bytes | None) -> bytes:
    """The archive at `path` written anew by zipfile, with members replaced (or, for None, left out) by base name."""
    target = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", compression) as new:
        for info in old.infolist():
            content = changes.get(info.filename.rpartition("/")[2].replace(".", "_"), old.read(info))
            if content is not None:
                new.writestr(info.filename, content)
    return target.getvalue()
