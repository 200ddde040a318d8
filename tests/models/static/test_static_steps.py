"""The training steps that a checkpoint tells of."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normdiag.models.static import read_static
from normdiag.models.static.inert import Global, Record
from normdiag.models.static.steps import steps_told


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        ({"global_step": 7, "epoch": 3}, {7}),
        ({"a": {"b": {"num_updates": 7.0}}, "iter": 9}, {7, 9}),
        ({"optimizer": Record(Global("collections", "OrderedDict"), items={"step": 4})}, {4}),
        ({"step": math.nan, "iter": math.inf, "steps": -1, "iteration": 1.5, "global_step": "8"}, set()),
        ({"step": None, "iter": [8], "max_steps": 8, 8: 8}, set()),
        ([1, 2], set()),
        (None, set()),
    ],
)
def test_numbers_under_the_usual_names(found: Any, steps: set[int]) -> None:
    assert steps_told(found) == steps


def test_containers_that_are_shared_or_nested_without_end_take_no_time() -> None:
    value: Any = {"step": 1}
    for _ in range(60):
        value = {str(index): value for index in range(100)}
    round_and_round: dict[str, Any] = {"step": 5}
    round_and_round["self"] = round_and_round
    start = time.perf_counter()
    steps_told(value)
    assert steps_told(round_and_round) == {5}
    assert time.perf_counter() - start < 5


def test_numbers_of_a_checkpoint_reach_the_comparison_of_its_copies(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    norm = torch.nn.Sequential(torch.nn.BatchNorm1d(4))
    norm(torch.randn(8, 4))
    state = {"model": norm.state_dict(), "ema": norm.state_dict()}
    for step, told in ((torch.tensor(1.0), True), (np.int64(1), True), (np.float32(2), False), ("1", False)):
        torch.save({**state, "optimizer": {"state": {0: {"step": step}}, "param_groups": []}}, tmp_path / "c.pt")
        (compared,) = read_static(tmp_path / "c.pt", "torch-zip").copies
        assert (compared.tracked, compared.in_training) == ((1, 1), told)
