"""Operators on tensors without values run once for each kind of arguments, and what is handed out again is the like."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normdiag.folding.pytorch import tracing
from normdiag.folding.pytorch.export import deployed_copy
from normdiag.folding.pytorch.known_results import KnownResults
from normdiag.models.pytorch.torch_private import fake_tensors

aten = torch.ops.aten
pytestmark = pytest.mark.exports


class Counted:
    """An operator that counts how often it runs."""

    def __init__(self, operator: Any) -> None:
        self.operator, self.runs = operator, 0
        self._schema = operator._schema

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.runs += 1
        return self.operator(*args, **kwargs)


@pytest.fixture
def mode() -> Iterator[Any]:
    with fake_tensors() as made, torch.no_grad():
        yield made


def fake(mode: Any, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    made: Tensor = mode.from_tensor(torch.zeros(shape, dtype=dtype), static_shapes=True)
    return made


def layout(value: Tensor) -> tuple[Any, ...]:
    return value.shape, value.stride(), value.storage_offset(), value.dtype, value.device, type(value)


def test_the_like_is_handed_out_again(mode: Any) -> None:
    results, operator = KnownResults(), Counted(aten.slice.Tensor)
    x = fake(mode, 4, 6).t()
    first, again = (results(operator, (x, 0, 2, 5), {}) for _ in range(2))
    assert operator.runs == 1
    assert layout(again) == layout(first)
    assert first.storage_offset() == 2
    assert again is not first


def test_lists_and_tuples_stay_what_they_are(mode: Any) -> None:
    results, x = KnownResults(), fake(mode, 4, 6)
    for operator, args in ((Counted(aten.unbind.int), (x,)), (Counted(aten.max.dim), (x, 1))):
        first, again = (results(operator, args, {}) for _ in range(2))
        assert operator.runs == 1
        assert type(again) is type(first)
        assert [layout(each) for each in again] == [layout(each) for each in first]


@pytest.mark.parametrize(
    "other",
    [
        lambda mode: ((fake(mode, 4, 7), 0), {}),
        lambda mode: ((fake(mode, 6, 4).t(), 0), {}),
        lambda mode: ((fake(mode, 4, 6, dtype=torch.float64), 0), {}),
        lambda mode: ((fake(mode, 4, 6), 1), {}),
        lambda mode: ((fake(mode, 4, 6), False), {}),
        lambda mode: ((fake(mode, 4, 6), 0), {"dtype": torch.float64}),
    ],
)
def test_what_sizes_can_depend_on_tells_calls_apart(mode: Any, other: Any) -> None:
    results, operator = KnownResults(), Counted(aten.softmax.int)
    results(operator, (fake(mode, 4, 6), 0), {})
    args, kwargs = other(mode)
    value = results(operator, args, kwargs)
    assert operator.runs == 2
    assert layout(value) == layout(aten.softmax.int(*args, **kwargs))


def test_what_writes_or_returns_its_argument_runs_each_time(mode: Any) -> None:
    results, x = KnownResults(), fake(mode, 4, 6)
    for operator in (Counted(aten.relu_.default), Counted(aten.contiguous.default)):
        assert [results(operator, (x,), {}) is x for _ in range(2)] == [True, True]
        assert operator.runs == 2


def test_known_values_are_kept(mode: Any) -> None:
    results, operator = KnownResults(), Counted(aten.add.Tensor)
    two = torch.tensor(2.0)
    assert [results(operator, (two, two), {}).item() for _ in range(2)] == [4.0, 4.0]
    assert operator.runs == 2


def test_a_block_that_is_repeated_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    mode = type(fake_tensors())
    plain = mode.dispatch
    monkeypatch.setattr(mode, "dispatch", lambda *a, **k: runs.append(str(a[1])) or plain(*a, **k))

    def operators(blocks: int) -> int:
        net = nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), nn.GELU()) for _ in range(blocks))).eval()
        runs.clear()
        tracing.traced_program(deployed_copy(net), (torch.ones(3, 6),), {})
        return sum("gelu" in each or "addmm" in each for each in runs)

    assert operators(4) == operators(1) > 0
