"""Operators that replace slow or wrong ones of onnx.reference.

For one, its BatchNormalization of operator sets 9 to 13 takes the batch's statistics where a momentum is stated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from normdiag.errors import InputError
from normdiag.fold.onnx.windows import Window, convolve, convolve_transposed, make_window, mean, reduced
from normdiag.records.model import Array

# Multiply-adds of convolutions that one run may take: some seconds on one core.
MOST_WORK = 6e9


class Meter:
    """The work of a run so far."""

    def __init__(self) -> None:
        """Nothing done."""
        self.done = 0.0

    def add(self, work: float) -> None:
        """Raises InputError where that is too much."""
        self.done += work
        if self.done > MOST_WORK:
            raise InputError("it would take too long in float64")


def operators(meter: Meter) -> list[type[Any]]:
    """The classes for onnx.reference.ReferenceEvaluator(new_ops=...), which tells them apart by their names."""

    def conv(x: Array, w: Array, b: Array | None = None, group: int = 1, **how: Any) -> tuple[Array]:
        window = _window(x, w.shape[2:], how)
        meter.add(len(x) * math.prod(window.out) * w.size)
        return (_with_bias(convolve(x, w, window, group), b),)

    def conv_transpose(x: Array, w: Array, b: Array | None = None, group: int = 1, **how: Any) -> tuple[Array]:
        meter.add(x.size * w[0].size)
        window, size = _transposed_window(x, w.shape[2:], how)
        return (_with_bias(convolve_transposed(x, w, window, group, size), b),)

    def max_pool(x: Array, **how: Any) -> tuple[Array]:
        return (reduced(x, _pool_window(x, how), -np.inf, np.maximum),)

    def average_pool(x: Array, count_include_pad: int = 0, **how: Any) -> tuple[Array]:
        if count_include_pad and how.get("ceil_mode"):
            raise NotImplementedError("AveragePool in ceil mode that counts padding")
        return (mean(x, _pool_window(x, how), count_padding=bool(count_include_pad)),)

    def batch_norm(
        x: Array, gamma: Array, beta: Array, mean: Array, var: Array, epsilon: float = 1e-5, **how: Any
    ) -> tuple[Array]:
        if how.get("training_mode") or how.get("spatial", 1) == 0:
            raise NotImplementedError("BatchNormalization in training mode or per position")
        scale = gamma / np.sqrt(var + epsilon)
        return (_with_bias(_along_channels(scale, x) * (x - _along_channels(mean, x)), beta),)

    functions: dict[str, Callable[..., tuple[Array]]] = {
        "Conv": conv,
        "ConvTranspose": conv_transpose,
        "MaxPool": max_pool,
        "AveragePool": average_pool,
        "BatchNormalization": batch_norm,
    }
    return [_operator(name, function) for name, function in functions.items()]


def _operator(name: str, function: Callable[..., tuple[Array]]) -> type[Any]:
    """An OpRun, which hands attributes over by name."""
    from onnx.reference.op_run import OpRun

    def run(self: Any, *inputs: Array, **attributes: Any) -> tuple[Array]:
        if sum(map(bool, self.onnx_node.output)) > 1:
            raise NotImplementedError(f"{name} with several outputs")
        return function(*inputs, **attributes)

    return type(name, (OpRun,), {"op_domain": "", "_run": run})


def _window(x: Array, kernel: tuple[int, ...], how: Mapping[str, Any]) -> Window:
    strides, dilations, pads = how.get("strides"), how.get("dilations"), how.get("pads")
    return make_window(x.shape[2:], kernel, strides, dilations, pads, how.get("auto_pad"), bool(how.get("ceil_mode")))


def _pool_window(x: Array, how: Mapping[str, Any]) -> Window:
    """Runtimes disagree on automatic padding for dilated pools."""
    if how.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER") and any(d != 1 for d in how.get("dilations") or ()):
        raise NotImplementedError("a dilated pool with automatic padding")
    return _window(x, how["kernel_shape"], how)


def _transposed_window(x: Array, kernel: tuple[int, ...], how: Mapping[str, Any]) -> tuple[Window, tuple[int, ...]]:
    """The window that goes from the output back to x, and the size of the output."""
    if how.get("auto_pad") not in (None, "NOTSET", "VALID") or how.get("output_shape"):
        raise NotImplementedError("ConvTranspose with auto_pad or output_shape")
    rank = len(kernel)
    ones, zeros = (1,) * rank, (0,) * rank
    strides, dilations = tuple(how.get("strides") or ones), tuple(how.get("dilations") or ones)
    pads, extra = how.get("pads") or (*zeros, *zeros), how.get("output_padding") or zeros
    begin, end = tuple(pads[:rank]), tuple(pads[rank:])
    size = tuple(
        s * (n - 1) + (k - 1) * d + 1 + o - b - e
        for n, k, s, d, b, e, o in zip(x.shape[2:], kernel, strides, dilations, begin, end, extra, strict=True)
    )
    return Window(tuple(kernel), strides, dilations, begin, end, tuple(x.shape[2:])), size


def _with_bias(values: Array, bias: Array | None) -> Array:
    return values if bias is None else values + _along_channels(bias, values)


def _along_channels(values: Array, like: Array) -> Array:
    return values.reshape(-1, *(1,) * (like.ndim - 2))
