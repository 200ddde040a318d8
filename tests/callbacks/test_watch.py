"""A watched training is bit-identical to one that nobody watches, and says what it should."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from normdiag.callbacks import Watch
from normdiag.callbacks.undisturbed import undisturbed
from normdiag.errors import UsageError
from sample_models.net import DigitsTransformer
from tests.callbacks.loops import STEPS, DrawingNet, images, train


def watching(**options: Any) -> tuple[Watch, list[tuple[int, Mapping[str, float]]]]:
    logged: list[tuple[int, Mapping[str, float]]] = []
    options = {"every_n_steps": 5, "max_share": None, **options}
    return Watch(images(), log=lambda values, step: logged.append((step, values)), **options), logged


def test_the_training_is_bit_identical() -> None:
    watch, logged = watching()
    assert train(watch).equals(train())
    assert [step for step, _ in logged] == [5, 10, 15, 20]
    assert watch.last is not None and watch.last.layers[0].drift is not None


def test_the_comparison_of_trainings_can_fail() -> None:
    def drawing(net: nn.Module, step: int) -> None:
        torch.rand(())

    assert not train(drawing).equals(train())


def test_random_numbers_go_on_as_if_none_had_been_drawn() -> None:
    def draw() -> tuple[float, ...]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    with undisturbed():
        draw()
    after = draw()
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    assert after == draw()


def test_the_figures_are_those_of_the_report() -> None:
    watch, logged = watching()
    train(watch, steps=5)
    report, values = watch.last, logged[-1][1]
    assert report is not None and report.gap is not None and report.layers[0].drift is not None
    assert values["normdiag/drift"] == report.layers[0].drift.corrected
    assert values["normdiag/gap"] == report.gap.relative_rms
    assert values["normdiag/answers"] == report.gap.top1_disagreement
    assert values["normdiag/saturated"] == report.activations[0].saturated_fraction
    assert all(np.isfinite(value) for value in values.values())


def test_a_net_without_running_statistics_has_figures_of_its_own() -> None:
    watch, logged = watching()
    watch.look(DigitsTransformer(), 1)
    assert {"normdiag/outliers", "normdiag/saturated"} <= set(logged[0][1])
    assert "normdiag/drift" not in logged[0][1]


def test_the_end_is_looked_at_once() -> None:
    watch, logged = watching(every_n_steps=STEPS)
    net = DrawingNet()
    watch(net, STEPS)
    watch.at_end(net, STEPS)
    assert [step for step, _ in logged] == [STEPS]
    watch.at_end(net, STEPS + 1)
    assert [step for step, _ in logged] == [STEPS, STEPS + 1]


def test_a_step_of_several_batches_is_looked_at_once() -> None:
    watch, logged = watching()
    for _ in range(3):
        watch(DrawingNet(), 5)
    assert len(logged) == 1


def test_a_look_waits_until_it_is_affordable() -> None:
    watch, logged = watching(every_n_steps=1, max_share=0.01)
    train(watch)
    assert len(logged) < STEPS / 2, "looks take longer than such steps, so most of them wait"
    watch, logged = watching(every_n_steps=1, max_share=1e9)
    train(watch)
    assert len(logged) == STEPS


def test_batches_are_copied_and_no_more_than_needed() -> None:
    data = images()
    watch = Watch([data[i : i + 16] for i in range(0, 96, 16)], samples=40)
    held = [batch.clone() for batch in watch.held.batches]
    data.zero_()
    assert [len(each) for each in held] == [16, 16, 16]
    assert all(torch.equal(one, two) for one, two in zip(held, watch.held.batches, strict=True))
    report = watch.look(DrawingNet(), 1)
    assert report is not None and report.data is not None and report.data.samples == 40
    small = Watch([images()[i : i + 2] for i in range(0, 96, 2)])
    assert small.held.size == 32, "small batches are many looks for few samples"


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(64)

    def forward(self, image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return self.norm(image.flatten(1)) + other.flatten(1)


@pytest.mark.parametrize("batch", [(images(), images(), torch.arange(96)), {"image": images(), "other": images()}])
def test_batches_keep_the_form_that_the_model_takes(batch: Any) -> None:
    said: list[str] = []
    watch = Watch([batch], warn=said.append)
    assert watch.look(TwoInputs(), 1) is not None, said


def test_a_model_that_cannot_be_looked_at_is_trained_on() -> None:
    said: list[str] = []
    watch, logged = watching(warn=said.append)
    odd = nn.Sequential(nn.Linear(7, 3), nn.BatchNorm1d(3))
    for step in (5, 10):
        watch(odd, step)
    assert not logged and len(said) == 1 and "was not looked at" in said[0]
    said.clear()
    Watch(warn=said.append).look(odd, 1)
    assert "no batches are held" in said[0]


def test_impossible_intervals_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Watch(images(), every_n_steps=0)
