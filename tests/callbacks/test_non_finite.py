"""A training that went to NaN is stopped in that step, with the layer where it began."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from normdiag.callbacks import NonFiniteError, Watch
from normdiag.callbacks.non_finite import NonFiniteWatch, _Group
from tests.callbacks.loops import images

BAD_STEP = 4


class Chain(nn.Module):
    """Three BatchNorm layers; `spoil` is called with the input of the second."""

    def __init__(self, spoil: Callable[[Tensor], Tensor], norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.spoil = spoil
        self.first, self.second, self.third = (nn.Linear(64 if i == 0 else 6, 6) for i in range(3))
        self.norm1, self.norm2, self.norm3 = norm(6), norm(6), norm(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.first(x.flatten(1)))
        x = self.norm2(self.spoil(self.second(x)))
        return self.norm3(self.third(x))


def run(
    norm: Callable[[int], nn.Module] = nn.BatchNorm1d, *, in_forward: bool = False, in_loss: bool = False
) -> tuple[str, int]:
    """The message, and the step in which the training was stopped."""
    torch.manual_seed(0)
    now = 0

    def spoil(x: Tensor) -> Tensor:
        return x * float("inf") if in_forward and now == BAD_STEP else x

    net, watch = Chain(spoil, norm), Watch(images(), every_n_steps=1000)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for now in range(1, 10):
        optimizer.zero_grad()
        loss = net(images()[:16]).square().mean()
        (loss * float("nan") if in_loss and now == BAD_STEP else loss).backward()
        optimizer.step()
        try:
            watch(net, now)
        except NonFiniteError as error:
            return str(error), now
    return "", now


def test_a_healthy_training_goes_on() -> None:
    assert run() == ("", 9)


def test_the_first_layer_that_it_reached_is_named_with_the_step() -> None:
    message, stopped = run(in_forward=True)
    assert stopped == BAD_STEP
    assert message.startswith(f"step {BAD_STEP}: values that are not finite reached norm2 first, and 2 of 3")


def test_a_loss_that_is_not_finite_is_told_from_a_layer() -> None:
    for norm in (nn.BatchNorm1d, nn.LayerNorm):
        message, stopped = run(norm, in_loss=True)
        assert stopped == BAD_STEP
        assert "parameters of norm1, norm2, norm3" in message and "the loss" in message


def test_without_running_statistics_it_is_seen_in_the_parameters() -> None:
    message, stopped = run(nn.LayerNorm, in_forward=True)
    assert stopped == BAD_STEP and "norm" in message


def test_the_step_is_kept_where_the_answer_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU nobody waits for the answer in every step."""
    net = Chain(lambda x: x, nn.BatchNorm1d)
    watch = NonFiniteWatch(net)
    monkeypatch.setattr(_Group, "waits", True)
    net.norm2.running_var[1] = float("nan")  # type: ignore[index]
    assert watch.see(7) is None
    for each in (net.norm1, net.norm3):
        each.running_var[0] = float("inf")  # type: ignore[index]
    said = [found for step in range(8, 60) if (found := watch.see(step))]
    assert said[0].startswith("step 7: values that are not finite reached norm2 first, and 1 of 3")
    assert watch.found() == said[0]


def test_overflow_of_a_sum_is_not_taken_for_infinity() -> None:
    net = nn.Sequential(nn.BatchNorm1d(4))
    net[0].running_var.fill_(3e38)  # type: ignore[operator]
    assert NonFiniteWatch(net).see(1) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_type_is_seen(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.BatchNorm1d(4), nn.LayerNorm(4)).to(dtype)
    net[0].float()
    watch = NonFiniteWatch(net)
    assert watch.see(1) is None
    with torch.no_grad():
        net[1].weight[0] = float("nan")  # type: ignore[operator,index]
    assert "parameters of 1" in (watch.see(2) or "")
