"""Where norms stand in a transformer, told from the graph of both importers; layers have names that say nothing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normdiag.folding.pytorch import TorchFoldable
from normdiag.graph import graph_of, open_model
from normdiag.graph.norm_roles import norm_roles
from normdiag.records import Batch

FEATURES, HEADS = 16, 2


def rotary(x: Tensor) -> Tensor:
    angle = torch.arange(x.shape[-2])[:, None] / 10.0 * torch.ones(x.shape[-1])
    first, second = x.chunk(2, -1)
    return x * angle.cos() + torch.cat([-second, first], -1) * angle.sin()


class Placed(nn.Module):
    """One block: `place` says where its norms stand, `heads` normalizes queries and keys, `fused` attends by SDPA."""

    def __init__(self, place: str, *, heads: bool = False, fused: bool = False, turn: bool = False) -> None:
        super().__init__()
        self.place, self.heads, self.fused, self.turn = place, heads, fused, turn
        self.start = nn.Linear(5, FEATURES)
        self.a, self.b, self.c, self.d, self.e = (nn.LayerNorm(FEATURES) for _ in range(5))
        self.f, self.g = nn.LayerNorm(FEATURES // HEADS), nn.LayerNorm(FEATURES // HEADS)
        self.q, self.k, self.v, self.o = (nn.Linear(FEATURES, FEATURES) for _ in range(4))
        self.up, self.down = nn.Linear(FEATURES, 32), nn.Linear(32, FEATURES)

    def attend(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = (each(x).view(n, t, HEADS, -1) for each in (self.q, self.k, self.v))
        if self.heads:
            q, k = self.f(q), self.g(k)
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        if self.turn:
            q, k = rotary(q), rotary(k)
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            mixed = torch.softmax(q @ k.transpose(-1, -2) / 3.0, -1) @ v
        return self.o(mixed.transpose(1, 2).reshape(n, t, -1))

    def mlp(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.up(x)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        if self.place == "pre":
            x = x + self.attend(self.a(x))
            return self.up(self.e(x + self.mlp(self.b(x))))
        if self.place == "sandwich":
            x = x + self.c(self.attend(self.a(x)))
            return self.up(self.e(x + self.d(self.mlp(self.b(x)))))
        if self.place == "output":
            x = x + self.c(self.attend(x))
            return self.up(x + self.d(self.mlp(x)))
        x = self.a(x + self.attend(x))
        return self.up(self.b(x + self.mlp(x)))


def of_torch(net: nn.Module, _: Path) -> dict[str, str]:
    model = open_model(net)
    graph = TorchFoldable(net, model.info, Batch((np.zeros((2, 4, 5), np.float32),)), share=True).graph
    return {each.layer: each.role for each in norm_roles(graph)}


def of_onnx(net: nn.Module, folder: Path) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(2, 4, 5),), folder / "m.onnx", dynamo=False, opset_version=17)
    return {each.layer: each.role for each in norm_roles(graph_of(open_model(folder / "m.onnx")))}


@pytest.mark.parametrize("read", [of_torch, of_onnx])
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("pre", {"a": "pre", "b": "pre"}),
        ("sandwich", {"a": "pre", "b": "pre", "c": "sandwich", "d": "sandwich"}),
        ("output", {"c": "output", "d": "output"}),
        ("post", {"a": "post"}),
    ],
)
def test_places(read: Callable[[nn.Module, Path], dict[str, str]], place: str, expected: dict, tmp_path: Path) -> None:
    assert read(Placed(place).eval(), tmp_path) == expected


@pytest.mark.parametrize("read", [of_torch, of_onnx])
@pytest.mark.parametrize(("fused", "turn"), [(False, False), (False, True), (True, False), (True, True)])
def test_queries_and_keys(
    read: Callable[[nn.Module, Path], dict[str, str]], fused: bool, turn: bool, tmp_path: Path
) -> None:
    found = read(Placed("pre", heads=True, fused=fused, turn=turn).eval(), tmp_path)
    assert found == {"a": "pre", "b": "pre", "f": "qk", "g": "qk"}
