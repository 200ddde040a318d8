"""Making a fixed batch dimension free, where running shows that the result is the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.observe.onnx.batch_rewrite import SeenSizes, known_shapes, with_free_batch
from normdiag.observe.onnx.edit import PREFIX
from normdiag.observe.onnx.feed import NOTHING_ELSE, GraphInput, graph_inputs
from normdiag.observe.onnx.session import Session, Setting
from normdiag.records import Feeding
from normdiag.wording import abridged

Array = NDArray[Any]
# Side length tried for dimensions that the model leaves free, when a candidate is checked.
_TRIED_LENGTH = 32
# Operators whose last input is a shape.
_SHAPED = frozenset({"Reshape", "Expand", "Resize"})
_LOST = "; a batch of one has no batch statistics, so no local drift and no gap"
_SAME = 1e-3  # relative RMS: far above float32 noise, far below what mixing up samples does


@dataclass(frozen=True, eq=False)
class Freed:
    """The model to run, an onnx.ModelProto, and the only batch size it accepts (None: any)."""

    proto: Any
    fixed_batch: int | None = None
    notes: tuple[str, ...] = ()


def free_batch(proto: Any, setting: Setting, feeding: Feeding = NOTHING_ELSE) -> Freed:
    """The model with a free batch dimension, if its inputs agree on a fixed one and the freed model passes a check.

    The check runs two seeded random batches one by one through the model and at once through the candidate. `proto`
    is left as it is.
    """
    inputs = graph_inputs(proto, setting.where)
    axes = {each.name: axis for each in inputs if (axis := feeding.axis(each.name)) is not None}
    sizes = {each.shape[axes[each.name]] if each.shape else None for each in inputs if each.name in axes}
    if any(state.axis is None for state in feeding.states):
        return Freed(proto, 1, (f"the model runs one sample at a time: a state of it has no axis for them{_LOST}",))
    if None in sizes or not sizes:
        return Freed(proto)
    size = next(each.shape[axes[each.name]] for each in inputs if each.name in axes and each.shape)
    if len(sizes) > 1:
        return Freed(proto, size, (f"the model runs only as declared: {_declared(inputs)}",))
    assert size is not None
    candidate = with_free_batch(proto, axes, size, _seen(proto, inputs, setting, feeding))
    if _agree(proto, candidate, inputs, setting, feeding):
        return Freed(candidate)
    lost = _LOST if size == 1 else ""
    return Freed(proto, size, (f"the model's batch size is fixed at {size} and cannot be made free{lost}",))


def _agree(proto: Any, candidate: Any, inputs: Sequence[GraphInput], setting: Setting, feeding: Feeding) -> bool:
    """Whether two batches run at once through the candidate give what they give one by one."""
    names = [output.name for output in proto.graph.output]
    rng = np.random.default_rng(0)
    alike = {each.name: _random(each, rng) for each in inputs if feeding.axis(each.name) is None}
    alike |= feeding.constants
    parts = [{each.name: alike.get(each.name, _random(each, rng)) for each in inputs} for _ in range(2)]
    whole = {name: alike.get(name, _joined([part[name] for part in parts], feeding.axis(name))) for name in parts[0]}
    placed = {state.output: state.axis for state in feeding.fed_back}
    try:
        at_once = Session(candidate, setting, optimize=False).run(names, whole)  # first: it is what may fail
        original = Session(proto, setting, optimize=False)
        one_by_one = [original.run(names, part) for part in parts]
    except InputError:
        return False
    return all(_same(at_once[name], [part[name] for part in one_by_one], placed.get(name) or 0) for name in names)


def _seen(proto: Any, inputs: Sequence[GraphInput], setting: Setting, feeding: Feeding) -> SeenSizes:
    """What a run shows of what cannot be inferred: sizes, and the shapes that the graph computes from constants."""
    import onnx
    from onnx import helper

    whole = all(each.shape is not None and None not in each.shape for each in inputs)
    known, fixed = known_shapes(proto), _constant_tensors(proto.graph, static=whole)
    names = [name for node in proto.graph.node for name in node.output if name and name not in known]
    shaped = [node for node in proto.graph.node if node.op_type in _SHAPED and len(node.input) > 1]
    vectors = [node.input[-1] for node in shaped if node.input[-1] in fixed and node.input[-1] not in setting.weights]
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    sizes = {name: f"{PREFIX}size_{index}" for index, name in enumerate(names)}
    probe.graph.node.extend(helper.make_node("Shape", [name], [size]) for name, size in sizes.items())
    wanted = list(dict.fromkeys((*sizes.values(), *vectors)))
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    rng = np.random.default_rng(0)
    try:
        session = Session(probe, setting, optimize=False)
        values = session.run(wanted, {**{each.name: _random(each, rng) for each in inputs}, **feeding.constants})
    except InputError:
        return SeenSizes()
    shapes = {name: tuple(int(each) for each in values[size]) for name, size in sizes.items()}
    return SeenSizes(shapes, {name: [int(each) for each in values[name].reshape(-1)] for name in vectors})


def _constant_tensors(graph: Any, *, static: bool) -> set[str]:
    """What no input of the graph changes; nor do they change a shape where all of theirs are `static`."""
    moving = {each.name for each in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if moving.intersection(node.input) and not (static and node.op_type in ("Shape", "Size")):
            moving.update(node.output)
    return {name for node in graph.node for name in (*node.input, *node.output) if name} - moving


def _joined(parts: Sequence[Array], axis: int | None) -> Array:
    return parts[0] if axis is None else np.concatenate(parts, axis)


def _random(each: GraphInput, rng: np.random.Generator) -> Array:
    shape = tuple(_TRIED_LENGTH if length is None else length for length in each.shape or ())
    if each.dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(each.dtype)
    return rng.standard_normal(shape).astype(each.dtype)


def _same(at_once: Array, one_by_one: Sequence[Array], axis: int) -> bool:
    if not at_once.ndim or any(part.ndim != at_once.ndim for part in one_by_one):
        return False
    try:
        expected = np.concatenate(one_by_one, axis).astype(np.float64)
    except ValueError:
        return False
    if expected.shape != at_once.shape:
        return False
    difference = at_once.astype(np.float64) - expected
    return math.sqrt(np.square(difference).sum()) <= _SAME * math.sqrt(np.square(expected).sum())


def _declared(inputs: Sequence[GraphInput]) -> str:
    return abridged([f"{each.name} {each.shape}" for each in inputs])
