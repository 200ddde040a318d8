"""Operators that replace slow or wrong ones of onnx.reference, and that say how much they have to do.

For one, its BatchNormalization of operator sets 9 to 13 takes the batch's statistics where a momentum is stated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from normdiag.errors import InputError
from normdiag.folding.onnx.windows import KernelSteps, convolve, convolve_transposed, make_window, mean, reduced
from normdiag.records.model import Array

# Multiply-adds of one run: some seconds on one core.
MOST_WORK = 5e9
# Numbers that layers may write in one run. The reference evaluator keeps all of them until the end, 8 bytes each, and
# those of the activations and additions between the layers.
MOST_NUMBERS = 1e8


class Meter:
    """The work of a run so far."""

    def __init__(self) -> None:
        """Nothing done."""
        self.reset()

    def reset(self) -> None:
        """A new run begins."""
        self._work = self._numbers = 0.0

    def add(self, work: float, numbers: float) -> None:
        """Multiply-adds, and the size of what they write. Raises InputError where it is too much in all."""
        self._work += work
        self._numbers += numbers
        if self._work > MOST_WORK:
            raise InputError("it would take too long in float64")
        if self._numbers > MOST_NUMBERS:
            raise InputError("it would take too much memory in float64")


def operators(meter: Meter) -> list[type[Any]]:
    """The classes for onnx.reference.ReferenceEvaluator(new_ops=...), which tells them apart by their names."""

    def conv(x: Array, w: Array, b: Array | None = None, group: int = 1, **how: Any) -> tuple[Array]:
        window = _window(x, w.shape[2:], how)
        positions = len(x) * math.prod(window.out)
        meter.add(positions * w.size, positions * len(w))
        return (_with_bias(convolve(x, w, window, group), b),)

    def conv_transpose(x: Array, w: Array, b: Array | None = None, group: int = 1, **how: Any) -> tuple[Array]:
        window, size = _transposed_window(x, w.shape[2:], how)
        meter.add(x.size * w[0].size, len(x) * group * w.shape[1] * math.prod(size))
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
        meter.add(0, x.size)
        scale = gamma / np.sqrt(var + epsilon)
        return (_with_bias(_along_channels(scale, x) * (x - _along_channels(mean, x)), beta),)

    def matmul(x: Array, y: Array) -> tuple[Array]:
        columns = y.shape[-1] if y.ndim > 1 else 1
        meter.add(x.size * columns, x.size / max(x.shape[-1], 1) * columns)
        return (x @ y,)

    def gemm(
        a: Array, b: Array, c: Array | float = 0.0, alpha: float = 1.0, beta: float = 1.0, **how: Any
    ) -> tuple[Array]:
        a, b = a.T if how.get("transA") else a, b.T if how.get("transB") else b
        meter.add(a.size * b.shape[1], len(a) * b.shape[1])
        return (alpha * (a @ b) + beta * (0.0 if c is None else c),)

    functions: dict[str, Callable[..., tuple[Array]]] = {
        "Conv": conv,
        "ConvTranspose": conv_transpose,
        "MaxPool": max_pool,
        "AveragePool": average_pool,
        "BatchNormalization": batch_norm,
        "MatMul": matmul,
        "Gemm": gemm,
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


def _window(x: Array, kernel: tuple[int, ...], how: Mapping[str, Any]) -> KernelSteps:
    strides, dilations, pads = how.get("strides"), how.get("dilations"), how.get("pads")
    return make_window(x.shape[2:], kernel, strides, dilations, pads, how.get("auto_pad"), bool(how.get("ceil_mode")))


def _pool_window(x: Array, how: Mapping[str, Any]) -> KernelSteps:
    """Runtimes disagree on automatic padding for dilated pools."""
    if how.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER") and any(d != 1 for d in how.get("dilations") or ()):
        raise NotImplementedError("a dilated pool with automatic padding")
    return _window(x, how["kernel_shape"], how)


def _transposed_window(
    x: Array, kernel: tuple[int, ...], how: Mapping[str, Any]
) -> tuple[KernelSteps, tuple[int, ...]]:
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
    return KernelSteps(tuple(kernel), strides, dilations, begin, end, tuple(x.shape[2:])), size


def _with_bias(values: Array, bias: Array | None) -> Array:
    return values if bias is None else values + _along_channels(bias, values)


def _along_channels(values: Array, like: Array) -> Array:
    return values.reshape(-1, *(1,) * (like.ndim - 2))
