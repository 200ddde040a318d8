"""Where nothing finite was compared nothing is verified."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from normdiag.data.options import DataOptions
from normdiag.errors import InputError
from normdiag.folding import latency
from normdiag.folding import verify as module
from normdiag.folding.feeds import given, made_up
from normdiag.folding.verify import verify
from normdiag.records import Batch, Op, Opaque
from tests.folding.fake_models import planted, random_model


@pytest.fixture(autouse=True)
def _one_round_of_latency(monkeypatch):
    monkeypatch.setattr(latency, "ROUNDS", 1)
    monkeypatch.setattr(latency, "ROUND_SECONDS", 0.0)


def proof(net, result=None, feed=None):
    return verify(net, result or net.fold(net.plan), net.plan, feed or made_up(net.inputs, DataOptions(), net.graph))


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("chosen", [True, False])
def test_where_everything_is_nan_nothing_is_proven(together, chosen, monkeypatch):
    monkeypatch.setattr(module, "TOGETHER_BYTES", 1 << 30 if together else 10)
    net = random_model(0, 2)
    first = net.layers[0]
    net = replace(net, layers=(replace(first, weight=first.weight * np.float32(math.nan)), net.layers[1]))
    feed = given([Batch((np.ones((2, first.weight.shape[1]), np.float32),))]) if chosen else None
    with pytest.raises(InputError, match=r"no finite value at output 'out' on any input.*--no-verify"):
        proof(net, planted(net, 1, beta=net.layers[1].beta + 1), feed)


def test_an_output_that_is_nan_on_some_inputs_is_proven_on_the_others():
    net = random_model(0, 2, head=lambda x: np.where(abs(x).max() > 5, np.nan, x))
    found = proof(net)
    assert found.passed and "no finite value at out on the inputs of magnitude 10" in found.note
    assert not proof(net, planted(net, 1, eps=1e-3)).passed


def hidden(net, index, behind):
    """The original with NaN at a folded point alone, and an output that is computed from a tensor."""
    make = net.evaluator
    head = Op("head", "other", "Head", (behind,), ("out",), Opaque("a nonlinearity"))
    object.__setattr__(net, "graph", replace(net.graph, ops=(*net.graph.ops, head)))

    class Hiding:
        def __init__(self, tensors):
            self.runner = make(tensors)

        def run(self, batch):
            values = self.runner.run(batch)
            return {name: x * np.nan if name == f"y{index}" else x for name, x in values.items()}

    object.__setattr__(net, "evaluator", lambda tensors=(): Hiding(tensors))
    return net


def test_a_fold_without_a_finite_value_is_left_to_the_output_behind_it():
    found = proof(hidden(random_model(0, 3), 1, "a2"))
    assert found.passed and sorted(point.layer for point in found.points) == ["bn0", "bn2"]
    assert "no finite value was seen at bn1" in found.note


def test_a_fold_without_a_finite_value_at_it_or_behind_it_is_not_proven():
    net = random_model(0, 3, head=lambda x: x.argmax(1))
    with pytest.raises(InputError, match="no finite value at the fold of 'bn1' on any input, nor at an output after"):
        proof(hidden(net, 1, "a2"))


def test_an_output_elsewhere_says_nothing_about_a_fold():
    with pytest.raises(InputError, match="fold of 'bn1'"):
        proof(hidden(random_model(0, 3), 1, "a0"))


def test_an_output_that_is_always_empty_is_left_to_the_folds():
    net = random_model(0, 2, head=lambda x: x[:0])
    assert proof(net).passed
    with pytest.raises(InputError, match="no finite value at output 'out'"):
        proof(net, replace(net.fold(net.plan), points=()))
