"""What the operations of a graph do, one record for each kind: layers, norms, moves of values, functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from normdiag.ops.activation import Activation
from normdiag.records.model import Array, NormLayer


@dataclass(frozen=True)
class Size:
    """One dimension: `factor` times the free dimensions named in `symbols` (sorted; equal names, equal sizes).

    A dimension of which nothing is known has a symbol of its own, so that it equals nothing but itself.
    """

    factor: int = 1
    symbols: tuple[str, ...] = ()

    @property
    def known(self) -> int | None:
        """The number, where no free dimension is in it."""
        return None if self.symbols else self.factor


Sizes = tuple[Size, ...]


@dataclass(frozen=True, eq=False)
class Parameter:
    """A constant tensor as an op reads it (after transposes and casts on the way, where these are constant too).

    `name` is its name in the model, `dtype` the numpy (or ml_dtypes) name of what is stored. `read()` returns the
    values in that dtype and `shape`; it may map a file. `shared_with` names the other ops that read the same stored
    tensor. `obstacle` says why it must not be rewritten, as 'is quantized', 'is a graph input', 'is computed by the
    graph'.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array]
    shared_with: tuple[str, ...] = ()
    obstacle: str | None = None


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution; `weight` is (out, in / groups, *kernel), where transposed (in, out / groups, *kernel).

    `bias` is (out,) or None. `padded`: zeros may be put around the input (auto_pad SAME counts), so that a constant in
    front does not stay constant at the border. `strides` and `dilations` (one for each dimension of the kernel) and
    `pads` (first those at all beginnings, then those at all ends, as in ONNX) are None where they are not known.
    """

    weight: Parameter
    bias: Parameter | None = None
    groups: int = 1
    transposed: bool = False
    padded: bool = False
    strides: tuple[int, ...] | None = None
    dilations: tuple[int, ...] | None = None
    pads: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Linear:
    """A product with a constant matrix: Linear, Gemm, MatMul with the constant on either side, MatMul + Add, an einsum.

    `out_axis` and `in_axis` are the axes of `weight` (negative) that run along the channels of the output and of the
    input. `channel_axis` is where both lie in the data: -1, or -2 where the constant stands on the left; `data_axis`
    where those of the input lie, if elsewhere. The op is alpha * product + beta * bias. `bias` is broadcast to the
    output; it may be a scalar, or vary along other axes.
    """

    weight: Parameter
    bias: Parameter | None = None
    out_axis: int = -1
    in_axis: int = -2
    channel_axis: int = -1
    alpha: float = 1.0
    beta: float = 1.0
    data_axis: int | None = None

    @property
    def input_axis(self) -> int:
        """Where the channels lie in the input."""
        return self.channel_axis if self.data_axis is None else self.data_axis


@dataclass(frozen=True, eq=False)
class Norm:
    """A normalization. One that is foldable (`obstacle` None) is y = scale * x + shift along `axis`, float64 (C,).

    `layer` is the same record that `inspect` reports. `axis` is the axis of the channels in its input, or for layer and
    RMS norm the last one (their gamma then has the normalized shape). `gamma` and `beta` are its affine parameters as
    stored, None where it has none. `scale` and `shift` are set for a BatchNorm (or InstanceNorm) that uses
    running statistics; `obstacle` says why such a one is not a fixed affine map (training mode, no statistics, unknown
    eps, negative variance, ...). For layers that normalize with the data's own moments they stay None.
    """

    layer: NormLayer
    axis: int = 1
    gamma: Parameter | None = None
    beta: Parameter | None = None
    scale: Array | None = None
    shift: Array | None = None
    obstacle: str | None = None


@dataclass(frozen=True, eq=False)
class ScaleShift:
    """Elementwise y = scale * x + shift with constants: plain Mul, Div, Add, Sub, or a chain of them.

    Per channel, or by one number: float64, of the rank of the data with size 1 where they do not vary. `norm` is set
    where the chain is a decomposed BatchNorm: it scales and shifts. `obstacle` as for a Parameter, of any constant in
    the chain.
    """

    scale: Array
    shift: Array
    norm: NormLayer | None = None
    obstacle: str | None = None


@dataclass(frozen=True)
class Pass:
    """Hands its first input on unchanged: identity, dropout in eval mode, a cast that loses nothing.

    `keep` is the share that a dropout keeps while training, for the rules.
    """

    keep: float | None = None


@dataclass(frozen=True)
class Reshape:
    """Reads the elements in the same order under other sizes (`OpGraph.sizes` has both): flatten, squeeze, ..."""


@dataclass(frozen=True)
class Transpose:
    """Output axis i is input axis perm[i]."""

    perm: tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """Mixes positions along `axes`: pool, resize, pad, mean over positions. Other axes are independent.

    `scale`: which per-channel factors commute with it ('any', or 'non_negative' for a maximum). `shift`: whether a
    per-channel constant commutes: weights that sum to the same number everywhere, `total` (1 of a mean), so no counted
    zero padding, no padding with a constant; else `why_not` says what it does instead. `removed`: the axes do not
    appear in the output (a mean without keepdims). `zeros`: how many are put before and after what lies along the only
    axis, where that is all that happens.
    """

    axes: tuple[int, ...]
    scale: Literal["any", "non_negative"] = "any"
    shift: bool = True
    removed: bool = False
    total: float = 1.0
    why_not: str = field(default="counts zeros from its padding", compare=False)
    zeros: tuple[int, int] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Concat:
    """Joins its inputs along `axis`."""

    axis: int


@dataclass(frozen=True)
class Split:
    """Cuts its input along `axis`; the outputs follow each other without gap and cover all of it."""

    axis: int
    parts: tuple[int, ...]


@dataclass(frozen=True)
class Take:
    """Chooses along `axis`: slice, gather, flip. Output i has the elements at picks[i], counted from 0, in that order.

    None where these are not known. They may overlap, and leave elements out. `removed`: one element each, and the axis
    does not appear in the outputs.
    """

    axis: int
    picks: tuple[Sequence[int] | None, ...]
    removed: bool = False


@dataclass(frozen=True)
class Add:
    """The sum of its inputs, broadcast; each is multiplied by its entry of `signs` (1 or -1)."""

    signs: tuple[int, ...]


@dataclass(frozen=True)
class Select:
    """Takes each element from its first or its second input, broadcast; a third says from which where that is data.

    `constants` are those of the two that are constant, so that they may come to vary along more axes of the output.
    """

    constants: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Constant:
    """A constant among the data: a branch of an Add or Concat. Its Op has no input."""

    value: Parameter


@dataclass(frozen=True)
class Pointwise:
    """A known function of each value by itself: which one, as normdiag.ops names it, and its numbers.

    `slope` is that of prelu, which broadcasts to the data. A 'product' multiplies two tensors.
    """

    kind: str
    alpha: float = 1.0
    beta: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    slope: Parameter | None = None

    @classmethod
    def of(cls, function: Activation) -> Pointwise:
        """A function of the registry."""
        return cls(function.kind, function.alpha, function.beta, function.low, function.high)


@dataclass(frozen=True)
class Opaque:
    """Something that no affine map goes through; `why` completes 'it comes from X, ...': 'a nonlinearity'.

    `function` is set where it is known what is done to each value.
    """

    why: str
    function: Pointwise | None = field(default=None, compare=False)


Detail = (
    Conv
    | Linear
    | Norm
    | ScaleShift
    | Pass
    | Reshape
    | Transpose
    | Window
    | Concat
    | Split
    | Take
    | Select
    | Add
    | Constant
    | Opaque
)
