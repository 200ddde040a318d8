"""Watching BatchNorm: moments of its input per sample and channel, and batch statistics instead of the stored ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.models.onnx import ActivationSite, NormSite
from normdiag.observe.onnx.edit import DOUBLE, FLOAT, GraphEdit
from normdiag.observe.onnx.session import TensorType, Values
from normdiag.observe.sums import channel_sums, finite_shift, needs_shift
from normdiag.records import ChannelSums, Span
from normdiag.records.recalibration import PopulationSums

Array = NDArray[Any]
ELEMENT_TYPES = {"tensor(float)": FLOAT, "tensor(double)": DOUBLE, "tensor(float16)": 10, "tensor(bfloat16)": 16}
_MEAN, _VARIANCE = 3, 4  # inputs of BatchNormalization


@dataclass(frozen=True, eq=False)
class ChannelWatch:
    """Names of the graph outputs that hold, of a BatchNorm's input x, `mean` and `square` (N, C): per sample the means
    of (x - shift) and (x - shift)^2; `shift` (C,) where one was subtracted; and `shape` that of x.
    """

    site: NormSite
    mean: str
    square: str
    shift: str | None
    shape: str

    @property
    def outputs(self) -> tuple[str, ...]:
        """All graph outputs to fetch."""
        return tuple(name for name in (self.mean, self.square, self.shift, self.shape) if name is not None)

    def sums(self, values: Values, span: Span) -> ChannelSums | None:
        """The five sums about the stored mean; None where no mean is stored."""
        mu = self.site.layer.running_mean
        if mu is None:
            return None
        shift = 0.0 if self.shift is None else values[self.shift].astype(np.float64)
        return channel_sums(values[self.mean], values[self.square], 1, mu.astype(np.float64) - shift, span)

    def population(self, values: Values, span: Span) -> PopulationSums:
        """The five sums about `finite_shift` of the stored mean, or about 0 where none is stored."""
        mu, channels = self.site.layer.running_mean, values[self.mean].shape[1]
        about = np.zeros(channels) if mu is None else finite_shift(mu)
        shift = 0.0 if self.shift is None else values[self.shift].astype(np.float64)
        sums = channel_sums(values[self.mean], values[self.square], 1, about - shift, span)
        return PopulationSums(sums, int(np.prod(values[self.shape])) // max(channels, 1))

    @property
    def name(self) -> str:
        """The layer's, by which it is shifted."""
        return self.site.layer.name

    def lost_digits(self, values: Values) -> bool:
        """Whether the data's mean was so large beside its variance that unshifted sums lost digits."""
        return self.shift is None and lost_digits(values[self.mean], values[self.square], self.site.layer.eps or 0.0)


def lost_digits(mean: Array, square: Array, eps: float) -> bool:
    """Whether unshifted float32 means (N, C) of x and x^2 have lost digits of the variance."""
    if mean.dtype == np.float64:
        return False
    average, variance = (each.sum(0, dtype=np.float64) / len(each) for each in (mean, square))
    variance -= average * average
    return bool(np.isfinite(average).all()) and needs_shift(average, variance + eps)


def stored_statistics_need_shift(site: NormSite) -> bool:
    """Whether the stored statistics alone already say that unshifted sums would lose digits."""
    mean, var = site.layer.running_mean, site.layer.running_var
    if mean is None or var is None:
        return False
    return needs_shift(mean, np.asarray(var, np.float64) + (site.layer.eps or 0.0))


def watch_channels(edit: GraphEdit, site: NormSite, kind: TensorType, *, shifted: bool) -> ChannelWatch:
    """Add the moments of the input of a BatchNormalization node before that node.

    `shifted` subtracts the batch's mean first, at the cost of one more tensor of that size.
    """
    edit.slot = site.nodes[0]
    shape = edit.output(edit.node("Shape", site.input))
    x, rank = wide(edit, site.input, kind)
    if rank is None:
        x, rank = edit.three_axes(x), 3
    if not shifted or rank == 2:
        mean, square = moments(edit, x, rank)
        return ChannelWatch(site, edit.output(mean), edit.output(square), None, shape)
    x, center = centred(edit, x, rank)
    mean, square = moments(edit, x, rank)
    return ChannelWatch(site, edit.output(mean), edit.output(square), edit.output(center), shape)


def centred(edit: GraphEdit, x: str, rank: int, axis: int = 1) -> tuple[str, str]:
    """A tensor less its mean per channel over the batch, and that mean (C,)."""
    positions = [each for each in range(1, rank) if each != axis]
    center = edit.reduce("ReduceMean", edit.reduce("ReduceMean", x, positions), (0,))
    shape = [-1 if each == axis else 1 for each in range(rank)]
    return edit.node("Sub", x, edit.reshape(center, shape)), center


def use_batch_statistics(edit: GraphEdit, watch: ChannelWatch, kind: TensorType) -> None:
    """Feed a BatchNormalization node the mean and variance of the batch that it sees, from the moments of `watch`."""
    edit.slot = watch.site.nodes[0]
    mean = edit.reduce("ReduceMean", edit.cast(watch.mean, DOUBLE), (0,))
    square = edit.reduce("ReduceMean", edit.cast(watch.square, DOUBLE), (0,))
    variance = edit.node("Sub", square, edit.node("Mul", mean, mean))
    variance = edit.node("Relu", variance)
    if watch.shift is not None:
        mean = edit.node("Add", mean, edit.cast(watch.shift, DOUBLE))
    replace_statistics(edit, watch.site, kind, mean, variance)


def wide(edit: GraphEdit, x: str, kind: TensorType) -> tuple[str, int | None]:
    """The tensor in float32 or float64, and its rank: half precision can neither square nor sum."""
    if kind.element in ("tensor(float)", "tensor(double)"):
        return x, kind.rank
    return edit.cast(x, FLOAT), kind.rank


def activation_input(edit: GraphEdit, site: ActivationSite, kind: TensorType) -> tuple[str, int | None]:
    """What enters an activation, in float32 or float64, and its rank; integers as the numbers that they stand for."""
    if site.quantized:
        return edit.node("DequantizeLinear", site.input, *site.quantized), kind.rank
    return wide(edit, site.input, kind)


def norm_input(edit: GraphEdit, site: NormSite, kind: TensorType) -> tuple[str, int | None]:
    """What enters a normalization layer, made before its first node, in float32 or float64, and its rank."""
    edit.slot = min(site.nodes)
    x = site.input
    for addend in site.addends[1:]:
        x = edit.node("Add", x, addend)
    x, rank = wide(edit, x, kind)
    return x, site.rank if rank is None else rank


def moments(edit: GraphEdit, x: str, rank: int, axis: int = 1) -> tuple[str, str]:
    """Means over the positions of x and x^2, (N, C), of a tensor of rank 2 and more with its channels on `axis`.

    The sum of squares over one axis first, then the rest in double: onnxruntime adds squares one by one, so that
    long float32 sums are 40 times less exact, and slower, than short ones.
    """
    if rank == 2:
        x = edit.cast(x, DOUBLE)
        return x, edit.node("Mul", x, x)
    positions = [each for each in range(1, rank) if each != axis]
    mean = edit.reduce("ReduceMean", x, positions)
    if rank == 3:
        return mean, edit.reduce("ReduceMean", edit.node("Mul", x, x), positions)
    *others, last = positions
    rows = edit.cast(edit.reduce("ReduceSumSquare", x, (last,)), DOUBLE)
    return mean, edit.node("Div", edit.reduce("ReduceMean", rows, others), dimension(edit, x, last))


def dimension(edit: GraphEdit, x: str, axis: int) -> str:
    """The length of an axis, as a double of shape (1,)."""
    return edit.cast(edit.node("Gather", edit.node("Shape", x), edit.constant([axis], np.int64)), DOUBLE)


def replace_statistics(edit: GraphEdit, site: NormSite, kind: TensorType, mean: str, variance: str) -> None:
    """Feed a BatchNormalization node a mean and a variance, names of float64 tensors of shape (C,)."""
    node = edit.model.graph.node[site.nodes[0]]
    if kind.element in ("tensor(float)", "tensor(double)"):
        node.input[_MEAN], node.input[_VARIANCE] = (
            edit.cast(each, ELEMENT_TYPES[kind.element]) for each in (mean, variance)
        )
        return
    # Half precision holds no variance to speak of: normalize in float32, and cast the result back.
    inputs = [edit.cast(each, FLOAT) for each in (*node.input[:_MEAN], mean, variance)]
    epsilon: dict[str, Any] = {a.name: a.f for a in node.attribute if a.name == "epsilon"}
    result = edit.nodes("BatchNormalization", inputs, edit.fresh("BatchNormalization"), epsilon)
    del node.input[:]
    del node.attribute[:]
    node.op_type = "Cast"
    node.input.append(result)
    from onnx import helper

    node.attribute.append(helper.make_attribute("to", ELEMENT_TYPES[kind.element]))
