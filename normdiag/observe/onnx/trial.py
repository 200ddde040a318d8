"""Trying an ONNX model on made-up inputs, to learn which sizes it takes where it leaves them free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from normdiag.data.noise import draw
from normdiag.data.preprocess import numpy_dtype
from normdiag.errors import InputError
from normdiag.models.onnx import OnnxProgram
from normdiag.observe.onnx.feed import graph_inputs, make_feed
from normdiag.observe.onnx.session import Session, Setting
from normdiag.observe.onnx.weights import split_weights
from normdiag.records import Batch, InputSpec

ONE, TWO = 1, 2  # samples, where their number is free


def first_that_runs(program: OnnxProgram, candidates: Sequence[Sequence[InputSpec]], where: str) -> int:
    """The index of the first of these inputs, of which every size of a sample is known, that the model runs on.

    Raises InputError where it runs on none, with what onnxruntime said of the first.
    """
    skeleton = split_weights(program.proto, program.reader)
    session = Session(
        skeleton.proto, Setting(program.folder, where, skeleton.weights, provider=program.provider), optimize=False
    )
    outputs, wanted = [each.name for each in skeleton.proto.graph.output], graph_inputs(skeleton.proto, where)
    samples = ONE if any(state.axis is None for state in program.feeding.states) else TWO
    refused: list[InputError] = []
    for index, specs in enumerate(candidates):
        try:
            session.run(outputs, make_feed(wanted, _batch(specs, samples), where, program.feeding))
        except InputError as error:
            refused.append(error)
        else:
            return index
    raise refused[0]


def _batch(specs: Sequence[InputSpec], samples: int) -> Batch:
    rng = np.random.default_rng(0)
    return Batch(tuple(_drawn(spec, rng, samples) for spec in specs), tuple(spec.name for spec in specs))


def _drawn(spec: InputSpec, rng: np.random.Generator, samples: int) -> Any:
    shape = tuple(samples if size is None else size for size in spec.shape or ())
    return draw(rng, numpy_dtype(spec.dtype) or np.dtype(np.float32), shape)
