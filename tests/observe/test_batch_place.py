"""Where the samples are after changes of shape: against numpy, with the number of samples changed."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from normdiag.observe.batch_place import (
    BatchPlace,
    after_broadcast,
    after_reduction,
    after_reshape,
    after_transpose,
    freed,
)


@given(st.lists(st.integers(2, 4), min_size=1, max_size=4), st.integers(1, 3), st.data())
def test_freed_reshapes_take_more_samples(sizes: list[int], samples: int, data: st.DataObject) -> None:
    before = [samples, *sizes]
    split = data.draw(st.integers(0, len(sizes)))
    after = [samples * prod(sizes[:split]), *sizes[split:]]
    place = after_reshape(BatchPlace(0), before, after, samples)
    assert place is not None
    back = after_reshape(place, after, before, samples)
    assert back == BatchPlace(0)
    x = np.arange(2 * samples * prod(sizes)).reshape(2 * samples, *sizes)
    flat = x.reshape(freed(after, place))
    assert np.array_equal(flat.reshape(freed(before, back)), x)


def test_a_merged_axis_is_split_where_it_was_merged() -> None:
    heads = after_reshape(BatchPlace(1), (7, 1, 8), (7, 4, 2), 1)
    assert heads == BatchPlace(1)
    merged = after_reshape(BatchPlace(1), (7, 4, 2), (7, 8), 1)  # not the features: (L * N, C)
    assert merged == BatchPlace(0, 7) and freed((7, 8), merged) == [-1, 8]
    assert after_reshape(merged, (7, 8), (7, 1, 8), 1) == BatchPlace(1)


def test_other_changes_of_shape() -> None:
    assert after_transpose(BatchPlace(0), (2, 0, 1)) == BatchPlace(1)
    assert after_broadcast(BatchPlace(0), 2, 4) == BatchPlace(2)
    assert after_broadcast(BatchPlace(0), 3, 2) is None
    assert after_reduction(BatchPlace(2), (0, 1), 4, keeps=False) == BatchPlace(0)
    assert after_reduction(BatchPlace(0), (-1,), 3, keeps=False) == BatchPlace(0)
    assert after_reduction(BatchPlace(0), (0,), 3, keeps=False) is None
    assert after_reduction(BatchPlace(0), (0,), 3, keeps=True) == BatchPlace(0)
