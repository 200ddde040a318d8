"""Streaming models: what each sample finds in the model's states, known by running the samples before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.models.onnx import OnnxProgram
from normdiag.observe.onnx.feed import graph_inputs, make_feed, zeros
from normdiag.observe.onnx.session import Session, Setting
from normdiag.observe.onnx.weights import split_weights
from normdiag.records import Batch

Array = NDArray[Any]


def with_states(program: OnnxProgram, batches: Iterable[Batch], where: str) -> Iterator[Batch]:
    """The batches with the states that each of their samples finds, zeros before the first.

    The samples run one by one, in order, through the model as it is; a batch that holds states is left alone. With
    its states a sample can then run in any pass, and beside others.
    """
    skeleton = split_weights(program.proto, program.reader)
    session = Session(skeleton.proto, Setting(program.folder, where, skeleton.weights, provider=program.provider))
    inputs, feeding = graph_inputs(skeleton.proto, where), program.feeding
    names = [state.output for state in feeding.fed_back if state.output is not None]
    values = {state.name: zeros(state, 1) for state in feeding.fed_back}
    for batch in batches:
        if any(state.name in (*(batch.names or ()), *batch.fixed) for state in feeding.fed_back):
            yield batch
            continue
        found: list[dict[str, Array]] = []
        for index in range(batch.size):
            found.append(values)
            sample = replace(batch.rows(slice(index, index + 1)), fixed={**batch.fixed, **values})
            outputs = session.run(names, make_feed(inputs, sample, where, feeding))
            values = {state.name: outputs[str(state.output)] for state in feeding.fed_back}
        stacked = {state.name: _stacked([each[state.name] for each in found], state.axis) for state in feeding.fed_back}
        known = batch.names or tuple(each.name for each in inputs if each.name not in (*feeding.others, *batch.fixed))
        yield replace(batch, arrays=(*batch.arrays, *stacked.values()), names=(*known, *stacked))


def _stacked(values: list[Array], axis: int | None) -> Array:
    """The states of several samples, samples first; whole where no axis has them."""
    return np.stack([value if axis is None else np.take(value, 0, axis) for value in values])
