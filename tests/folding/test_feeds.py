"""Inputs that are made up where the user gives none."""

from __future__ import annotations

import numpy as np
import pytest

from normdiag.data.options import DataOptions
from normdiag.errors import InputError, UsageError
from normdiag.folding.feeds import MAGNITUDES, given, made_up
from normdiag.records import Batch, Conv, InputSpec, Linear, Op, OpGraph, Parameter

NO_GRAPH = OpGraph((), (), ())


def feeds(*specs, shapes=(), seed=0, graph=NO_GRAPH):
    inputs = [InputSpec(f"in{index}", dtype, shape) for index, (dtype, shape) in enumerate(specs)]
    return made_up(inputs, DataOptions(input_shapes=shapes, seed=seed), graph)


def shapes_of(trials):
    return [tuple(array.shape for array in trial.batch.arrays) for trial in trials]


def parameter(*shape):
    return Parameter("w", shape, "float32", lambda: np.zeros(shape))


def test_a_free_batch_is_run_with_one_and_with_eight():
    (feed,) = feeds(("float32", (None, 3, 8, 8)))
    assert set(shapes_of(feed.samples)) == {((1, 3, 8, 8),)}
    assert shapes_of(feed.batches) == [((8, 3, 8, 8),), ((1, 3, 8, 8),)]
    assert feed.note is None and feed.made_up


def test_a_declared_batch_is_kept_and_repeated():
    (feed,) = feeds(("float32", (3, 5)))
    assert set(shapes_of((*feed.samples, *feed.batches))) == {((3, 5),)}
    assert len(list(feed.samples)) == 3 * 3  # 9 samples of each of three magnitudes


def test_inputs_need_not_share_an_axis():
    cache = ("float32", (2, 1, 16, 16, 33))
    (feed,) = feeds(("float32", (1, 257, 1, 2)), cache, ("float32", (2, 3, 1, 1, 16)))
    assert set(shapes_of(feed.samples)) == {((1, 257, 1, 2), cache[1], (2, 3, 1, 1, 16))}


def test_three_magnitudes_and_a_mean():
    (feed,) = feeds(("float32", (None, 2000)))
    deviations = {trial.magnitude: trial.batch.arrays[0].std() for trial in feed.samples}
    assert deviations == {m: pytest.approx(m, rel=0.1) for m in MAGNITUDES}
    assert list(feed.batches)[-1].batch.arrays[0].mean() == pytest.approx(1, abs=0.1)


def test_free_sizes_of_images_are_tried_small_first_and_then_larger():
    small, large, lines = feeds(("float32", (None, 3, None, None)))
    assert next(iter(small.samples)).batch.arrays[0].shape == (1, 3, 64, 64)
    assert next(iter(large.samples)).batch.arrays[0].shape == (1, 3, 224, 224)
    assert next(iter(lines.samples)).batch.arrays[0].shape == (1, 3, 32, 32)
    assert shapes_of(small.batches) == [((8, 3, 64, 64),), ((1, 3, 64, 96),)]
    assert "'in0' free; taken: (N, 3, 64, 64)" in small.note and "--input-shape" in small.note


def test_inputs_of_one_sequence_keep_one_length():
    for feed in feeds(("int64", (None, None)), ("int64", (None, None))):
        for trial in (*feed.samples, *feed.batches):
            first, second = trial.batch.arrays
            assert first.shape == second.shape


def test_the_users_shape_is_taken():
    (feed,) = feeds(("float32", (None, 3, None, None)), shapes=("3,32,48",))
    assert next(iter(feed.samples)).batch.arrays[0].shape == (1, 3, 32, 48)


def test_the_first_layer_says_how_many_channels_there_are():
    conv = Op("c", "conv", "Conv", ("in0",), ("y",), Conv(parameter(8, 2, 3, 3), groups=3))
    feed, *_ = feeds(("float32", (None, None, None, None)), graph=OpGraph((conv,), ("in0",), ("y",)))
    assert next(iter(feed.samples)).batch.arrays[0].shape == (1, 6, 64, 64)
    linear = Op("l", "linear", "Gemm", ("in0",), ("y",), Linear(parameter(7, 5)))
    (feed,) = feeds(("float32", (None, None)), graph=OpGraph((linear,), ("in0",), ("y",)))
    assert next(iter(feed.samples)).batch.arrays[0].shape == (1, 7)


def test_integers_are_zero_or_one_in_every_run():
    for feed in feeds(("int64", (None, 50)), ("bool", (None, 2))):
        for trial in (*feed.samples, *feed.batches):
            ids, flags = trial.batch.arrays
            assert ids.dtype == np.int64 and flags.dtype == np.bool_
            assert set(np.unique(ids)) == {0, 1}


def test_half_precision_inputs_keep_their_dtype():
    (feed,) = feeds(("float16", (None, 4)))
    assert {trial.batch.arrays[0].dtype.name for trial in (*feed.samples, *feed.batches)} == {"float16"}


def test_the_seed_decides_and_runs_differ():
    def first(seed):
        (feed,) = feeds(("float32", (None, 4)), seed=seed)
        return [trial.batch.arrays[0] for trial in (*feed.samples, *feed.batches)]

    for a, b, c in zip(first(0), first(0), first(1), strict=True):
        assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert not np.array_equal(first(0)[0], first(0)[1])


def test_a_feed_can_be_read_again():
    (feed,) = feeds(("float32", (None, 4)))
    once, again = ([t.batch.arrays[0] for t in feed.samples] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def test_a_model_that_says_nothing_needs_a_shape():
    with pytest.raises(UsageError, match="--input-shape"):
        made_up((), DataOptions(), NO_GRAPH)
    with pytest.raises(UsageError, match=r"'in0'.*--input-shape in0="):
        feeds(("float32", None))
    (feed,) = made_up((), DataOptions(input_shapes=("3,8,8",)), NO_GRAPH)
    assert next(iter(feed.samples)).batch.arrays[0].shape == (1, 3, 8, 8)
    assert next(iter(feed.samples)).batch.names is None


def test_a_declared_size_beyond_all_memory_is_refused():
    with pytest.raises(InputError, match="GiB"):
        feeds(("float32", (None, 100_000, 100_000)))


def test_the_users_batches_are_passed_on():
    batch = Batch((np.zeros((2, 3)),))
    feed = given([batch], "val/")
    assert [trial.batch for trial in feed.batches] == [batch]
    assert feed.source == "val/" and not feed.made_up


def test_tokens_come_from_the_whole_vocabulary() -> None:
    spec = InputSpec("ids", "int64", (None, 40), below=1000)
    feed = made_up([spec], DataOptions(), OpGraph((), ("ids",), ()))[0]
    values = np.concatenate([trial.batch.arrays[0].reshape(-1) for trial in feed.samples])
    assert values.min() >= 0 and values.max() < 1000 and len(np.unique(values)) > 400
