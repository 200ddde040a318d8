"""Right folds pass, wrong ones do not."""

from __future__ import annotations

import math
from dataclasses import replace
from weakref import WeakSet

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from normdiag.data.options import DataOptions
from normdiag.errors import InputError
from normdiag.folding import latency, steady
from normdiag.folding import verify as module
from normdiag.folding.feeds import FoldTrial, TrialFeed, made_up
from normdiag.folding.feeds import given as given_batches
from normdiag.folding.verify import failure_message, verify
from normdiag.records import Batch, InputSpec
from tests.folding.fake_models import Runner, folded, planted, random_model


@pytest.fixture(autouse=True)
def _one_round_of_latency(monkeypatch):
    monkeypatch.setattr(latency, "ROUNDS", 1)
    monkeypatch.setattr(latency, "ROUND_SECONDS", 0.0)


def proof(net, result=None, feed=None):
    feed = feed or made_up(net.inputs, DataOptions(), net.graph)
    return verify(net, result or net.fold(net.plan), net.plan, feed)


def one(values, index, value):
    changed = values.copy()
    changed[index] = value
    return changed


def test_a_right_fold_passes_and_every_field_says_why():
    found = proof(random_model(0, 5))
    assert found.passed and 0 < found.error <= found.bound < 1e-4
    assert found.output == "out" and found.dtype == "float32" and found.depth == 5
    assert found.batch_sizes == (1, 8) and found.magnitudes == (0.1, 1.0, 10.0)
    assert found.runs >= 5 and found.samples >= found.runs + 7
    assert found.source == "seeded random inputs"
    assert 0 < found.original_float64_error < found.bound and 0 < found.float64_error < found.bound
    assert found.float64_note is None and found.note is None
    assert sorted(point.layer for point in found.points) == [f"bn{i}" for i in range(5)]
    excess = [point.relative / point.bound for point in found.points]
    assert excess == sorted(excess, reverse=True) and excess[0] <= 1
    assert found.latency.before > 0 and found.latency.after > 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.integers(1, 20), st.booleans())
def test_right_folds_of_random_nets_pass(seed, depth, in_float64):
    net = random_model(seed, depth, runs_in_float64=in_float64)
    assert right(net)


def right(net):
    """Whether it passes, or is in rounding noise on all made-up inputs."""
    try:
        found = proof(net)
    except InputError as error:
        return "rounding alone moves the original" in str(error)
    return found.passed


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.integers(1, 6), st.booleans())
def test_right_folds_in_float16_pass(seed, depth, in_float64):
    assert right(random_model(seed, depth, dtype=np.float16, runs_in_float64=in_float64))


def top(values):
    return abs(values).argmax()


FAULTS = {
    "another eps": lambda layer: {"eps": 1e-3},
    "one channel a tenth too large": lambda layer: {
        "gamma": one(layer.gamma, top(layer.gamma), 1.1 * layer.gamma[top(layer.gamma)])
    },
    "one shift gone": lambda layer: {"beta": one(layer.beta, top(layer.beta), 0)},
    "all shifts gone": lambda layer: {"beta": 0 * layer.beta},
    "scales moved by one channel": lambda layer: {"gamma": np.roll(layer.gamma, 1)},
    "means and shifts moved": lambda layer: {"mean": np.roll(layer.mean, 1), "beta": np.roll(layer.beta, 1)},
    "the variance taken for the deviation": lambda layer: {"var": layer.var**2},
    "a NaN": lambda layer: {"beta": one(layer.beta, 0, math.nan)},
}


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("fault", FAULTS)
@given(st.integers(0, 2**31), st.integers(1, 12), st.data())
def test_wrong_folds_fail_and_the_layer_is_named(fault, seed, depth, data):
    net = random_model(seed, depth, runs_in_float64=data.draw(st.booleans()))
    index = data.draw(st.integers(0, depth - 1))
    found = proof(net, planted(net, index, **FAULTS[fault](net.layers[index])))
    assert not found.passed
    assert found.points[0].layer == f"bn{index}"
    assert f"bn{index}; nothing" in failure_message(found) or f"at bn{index}, though" in failure_message(found)


@pytest.mark.parametrize("fault", ["all shifts gone", "scales moved by one channel", "means and shifts moved"])
def test_gross_faults_fail_in_float16(fault):
    for seed in range(10):
        net = random_model(seed, 3, dtype=np.float16)
        assert not proof(net, planted(net, 1, **FAULTS[fault](net.layers[1]))).passed


def test_bfloat16_is_proven_as_far_as_it_reaches():
    for seed in range(10):
        net = random_model(seed, 3, dtype=ml_dtypes.bfloat16)
        found = proof(net)
        assert found.passed and found.dtype == "bfloat16"
        shifted = planted(net, 1, beta=net.layers[1].beta + net.layers[1].beta.dtype.type(4))
        assert not proof(net, shifted).passed


def test_a_fault_far_below_what_shows_at_the_output_is_seen_at_its_point():
    net = random_model(3, 2)
    last = net.layers[-1]
    dead = replace(last, weight=last.weight * 0)  # nothing of the first layer arrives
    net = replace(net, layers=(net.layers[0], dead))
    found = proof(net, planted(net, 0, beta=net.layers[0].beta * 0))
    assert found.error <= found.bound and not found.passed
    assert "at bn0, though not at its outputs" in failure_message(found)


def test_cancellation_does_not_fail_a_right_fold():
    net = random_model(4, 3)
    layers = [replace(each, bias=each.bias + 100, mean=each.mean + 100) for each in net.layers]
    for in_float64 in (True, False):
        found = proof(replace(net, layers=tuple(layers), runs_in_float64=in_float64))
        assert found.passed and found.bound < 1e-3
    wrong = planted(replace(net, layers=tuple(layers)), 1, beta=layers[1].beta * 0)
    assert not proof(wrong.net, wrong).passed


def test_channels_of_no_variance_do_not_fail_a_right_fold_or_hide_a_wrong_one():
    net = random_model(5, 3, widths=(16, 32))
    flat = net.layers[1]
    rows = np.arange(len(flat.gamma)) % 2 == 0
    weight, var = np.where(rows[:, None], 0, flat.weight), np.where(rows, np.float32(6e-45), flat.var)
    flat = replace(flat, weight=weight, var=var, mean=np.where(rows, flat.bias, flat.mean))
    net = replace(net, layers=(net.layers[0], flat, net.layers[2]))
    assert proof(net).passed
    assert not proof(net, planted(net, 1, eps=1e-3)).passed


def noisy_above(limit):
    """A head that shows nothing but rounding where its input is larger than `limit`."""

    def head(x):
        return np.where(abs(x).max() > limit, np.sin(x * x.dtype.type(1e7)), x)

    return head


@pytest.mark.parametrize("in_float64", [True, False])
def test_inputs_on_which_the_original_is_in_rounding_noise_prove_nothing(in_float64):
    net = random_model(0, 2, head=noisy_above(10), runs_in_float64=in_float64)
    found = proof(net)
    assert found.passed and found.error <= found.bound < 1e-4
    assert "unsteady: rounding alone moves it by" in found.note and "other inputs were compared" in found.note
    wrong = proof(net, planted(net, 1, beta=net.layers[1].beta * 1.001))
    assert not wrong.passed and "bn1" in failure_message(wrong)


def test_further_inputs_are_taken_where_all_the_usual_ones_show_noise():
    net = random_model(0, 2, head=noisy_above(1.768))  # its output is at least 1.77 on the usual inputs
    found = proof(net)
    assert found.passed and 0.3 in found.magnitudes
    assert not proof(net, planted(net, 1, beta=net.layers[1].beta * 1.01)).passed


@pytest.mark.parametrize("in_float64", [True, False])
def test_where_no_input_is_left_no_layer_is_blamed(in_float64):
    net = random_model(0, 2, head=noisy_above(0), runs_in_float64=in_float64)
    with pytest.raises(InputError, match="cannot be verified on made-up inputs: rounding alone") as raised:
        proof(net)
    assert "bn" not in str(raised.value) and "--data" in str(raised.value)
    batch = Batch((np.ones((4, net.layers[0].weight.shape[1]), np.float32),))
    with pytest.raises(InputError, match="cannot be verified on these data"):
        proof(net, feed=given_batches([batch]))


def test_a_wrong_layer_is_named_though_the_output_after_it_is_noise():
    net = random_model(0, 3, head=noisy_above(0))
    wrong = proof(net, planted(net, 1, beta=net.layers[1].beta * 1.001))
    assert not wrong.passed and "bn1" in failure_message(wrong)


def test_a_scalar_output_near_zero_does_not_fail():
    for seed in range(20):
        net = random_model(seed, 4, widths=(8, 16), head=lambda x: x.sum(1, keepdims=True) - x.mean())
        assert proof(net).passed


def test_all_zero_outputs_are_equal():
    assert proof(random_model(0, 2, head=lambda x: x * 0)).error == 0


def test_nan_in_both_at_the_same_place_is_no_difference():
    assert proof(random_model(0, 2, head=lambda x: np.where(np.arange(x.shape[1]) == 0, np.nan, x))).passed


def test_runs_in_which_only_the_original_overflows_are_left_out():
    net = random_model(0, 2)
    before = replace(net, head=lambda x: np.where(abs(x).max() > 5, np.inf, x))
    result = folded(replace(before, head=lambda x: x), before.layers)
    found = proof(before, result)
    assert found.passed and "left out since the original overflows" in found.note


def test_on_the_users_data_an_overflow_is_a_difference():
    net = random_model(0, 2)
    before = replace(net, head=lambda x: x * np.inf)
    batch = Batch((np.ones((2, net.layers[0].weight.shape[1]), np.float32),))
    found = proof(before, folded(net, net.layers), given_batches([batch]))
    assert not found.passed and found.error == math.inf
    assert "NaN or infinity" in failure_message(found)


def test_where_the_original_always_overflows_nothing_is_proven():
    net = random_model(0, 2)
    before = replace(net, head=lambda x: x * np.inf + np.inf)
    with pytest.raises(InputError, match="--data"):
        proof(before, folded(net, net.layers))


def test_integer_outputs_are_not_compared_where_there_are_points():
    found = proof(random_model(0, 3, head=lambda x: x.argmax(1)))
    assert found.passed and "no output is floating-point" in found.note
    wrong = random_model(0, 3, head=lambda x: x.argmax(1))
    assert not proof(wrong, planted(wrong, 1, eps=1e-3)).passed


def test_integer_outputs_alone_may_hardly_differ():
    net = random_model(0, 3, head=lambda x: x.argmax(1))
    right = replace(net.fold(net.plan), points=())
    assert proof(net, right).passed
    wrong = replace(planted(net, 2, beta=-net.layers[2].beta), points=())
    found = proof(net, wrong)
    assert not found.passed and found.output == "out"


def test_no_output_at_all_is_an_error():
    class Silent:
        def run(self, batch):
            return {}

    net = random_model(0, 1)
    result = replace(net.fold(net.plan), points=())
    object.__setattr__(net, "evaluator", lambda tensors=(): Silent())
    with pytest.raises(InputError, match="no output"):
        proof(net, result)


def test_without_float64_the_reason_is_given():
    found = proof(random_model(0, 3, runs_in_float64=False))
    assert found.passed and found.float64_error is None
    assert found.float64_note == "it has an operator without a float64 kernel"


def test_a_model_too_large_for_float64_says_so(monkeypatch):
    monkeypatch.setattr(steady, "EXACT_BYTES", 10)
    assert "too large" in proof(random_model(0, 3)).float64_note


def test_what_the_first_pass_ran_is_gone_in_the_second(monkeypatch):
    alive, counts, make = WeakSet(), [], Runner.__init__

    def counted(self, *args, **options):
        make(self, *args, **options)
        alive.add(self)
        counts.append(len(alive))

    monkeypatch.setattr(Runner, "__init__", counted)
    assert proof(random_model(0, 3)).passed
    assert max(counts) == 3  # the original, the folded model and the original in float64


def test_a_large_model_is_never_held_twice(monkeypatch):
    monkeypatch.setattr(module, "TOGETHER_BYTES", 10)
    net = random_model(0, 3)
    found = proof(net)
    assert found.passed and found.points == () and found.latency is None
    assert "one ran after the other" in found.float64_note
    first_of_folded = net.log.index("folded")
    assert not any(event.startswith("run") for event in net.log[first_of_folded:])  # the original has run by then
    assert found.runs == 5 and found.magnitudes == (0.1, 1.0, 10.0)
    assert not proof(net, planted(net, 1, eps=1e-2)).passed


def test_a_fixed_batch_is_kept():
    found = proof(random_model(0, 3, limit=4))
    assert found.passed and found.batch_sizes == (4,)


def test_a_batch_of_eight_that_cannot_run_is_left_out():
    net = random_model(0, 3, limit=1)
    free = [InputSpec("x", "float32", (None, net.layers[0].weight.shape[1]))]
    found = proof(net, feed=made_up(free, DataOptions(), net.graph))
    assert found.passed and found.batch_sizes == (1,)


def test_the_users_data_is_run_batch_by_batch():
    net = random_model(0, 3)
    rng = np.random.default_rng(1)
    width = net.layers[0].weight.shape[1]
    batches = [Batch((rng.standard_normal((size, width), np.float32),)) for size in (4, 4, 2)]
    seen = []
    result = net.fold(net.plan)
    found = verify(net, result, net.plan, given_batches(iter(batches), "val/"), progress=lambda *a: seen.append(a))
    assert found.passed and found.source == "val/"
    assert (found.runs, found.samples, found.batch_sizes, found.magnitudes) == (3, 10, (2, 4), ())
    assert [total for _, total in seen] == [None] * len(seen)
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))


def test_data_that_does_not_fit_is_the_users_to_see():
    net = random_model(0, 2)
    with pytest.raises(InputError, match="the data has"):
        proof(net, feed=given_batches([Batch((np.ones((2, 99), np.float32),))]))
    with pytest.raises(InputError, match="gave no batches"):
        proof(net, feed=given_batches([], "an empty folder"))


def test_the_first_guess_that_runs_is_taken():
    net = random_model(0, 2)
    width = net.layers[0].weight.shape[1]
    trial = FoldTrial(Batch((np.ones((1, 99), np.float32),)), "g", 1.0)
    wrong = TrialFeed("guess", (), (trial,), made_up=True)
    right = made_up([InputSpec("x", "float32", (None, width))], DataOptions(), net.graph)
    assert proof(net, feed=(wrong, *right)).passed
    with pytest.raises(InputError, match=r"takes \(N, .*--data.*--input-shape"):
        proof(net, feed=(wrong,))


def test_a_folded_model_that_does_not_run_is_an_error():
    net = random_model(0, 2)
    result = replace(net.fold(net.plan), net=replace(net, limit=3))
    with pytest.raises(InputError, match="the folded model does not run"):
        proof(net, result)


def test_float64_that_fails_on_its_way_is_done_without():
    class Failing:
        def run(self, batch):
            raise InputError("no kernel")

    net = random_model(0, 3)
    object.__setattr__(net, "exact", lambda tensors=(): Failing())
    found = proof(net)
    assert found.passed and found.float64_note == "the original does not run in float64: no kernel"


def test_a_float64_that_shows_no_points_serves_for_the_outputs():
    net = random_model(0, 3)
    exact = net.exact
    object.__setattr__(net, "exact", lambda tensors=(): exact())
    found = proof(net)
    assert found.passed and found.original_float64_error > 0


def test_the_verdict_does_not_change_from_run_to_run():
    def figures():
        found = proof(random_model(7, 6))
        return found.error, found.bound, found.points

    assert figures() == figures()
