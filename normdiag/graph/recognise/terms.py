"""The algebra of decomposed normalization: what a tensor is in terms of the moments of another tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from normdiag.records import Size

Nodes = frozenset[int]


@dataclass(frozen=True)
class AveragedAxes:
    """A tensor, by the root of its name, and the axes over which it is averaged (from 0 where its rank is known)."""

    x: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Moment:
    """((factor * moment + eps) ** (+-1/2) + outside) * gamma, moment being E[x], E[x^2] or E[(x - E[x])^2] over `span`.

    `power` is 1 until a root is taken, then 1/2, or -1/2 for 1 / (root + outside). `tensor` is the x that was read.
    `kept`: the reduced axes are there with size 1, so that it broadcasts against x. `total`: a sum over a number of
    elements that is not known, and still to be divided by it; `counted`: a mean multiplied by it again. `centre` are
    the axes of the mean that a variance is about. `unbiased`: divided by n - 1. `floored`: eps or outside is a lower
    bound instead of an addend. `gamma` names a constant.
    """

    kind: Literal["mean", "square", "variance"]
    span: AveragedAxes
    nodes: Nodes
    tensor: str
    kept: bool = True
    total: bool = False
    factor: float = 1.0
    eps: float = 0.0
    power: float = 1.0
    outside: float = 0.0
    gamma: str | None = None
    centre: tuple[int, ...] = ()
    counted: bool = False
    unbiased: bool = False
    floored: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """What two uses of the same statistics have in common."""
        return self.kind, self.span, self.eps, self.outside, self.factor, self.unbiased

    @property
    def is_plain(self) -> bool:
        """Whether it is the moment itself, still without a root or an eps."""
        return self.power == 1.0 and not (self.eps or self.outside or self.total or self.counted or self.gamma)

    @property
    def divides(self) -> bool:
        """Whether a product with it is a normalization: 1 over a root."""
        about_its_mean = self.kind == "square" or (self.kind == "variance" and self.centre == self.span.axes)
        return self.power == -0.5 and self.kept and about_its_mean and not (self.total or self.counted)

    @property
    def is_guarded(self) -> bool:
        """Whether an eps keeps the root from zero."""
        return self.eps > 0.0 or self.outside > 0.0


@dataclass(frozen=True)
class ElementsLessOne:
    """The number of elements of some axes, less one."""

    count: Size
    nodes: Nodes


@dataclass(frozen=True)
class Squared:
    """x^2, or (x - E[x])^2 over `axes`."""

    x: str
    axes: tuple[int, ...] | None
    nodes: Nodes
    tensor: str


@dataclass(frozen=True)
class Combination:
    """(of_x * x + of_mean * E[x]) * scale * gamma + beta: what becomes a normalization when its parts are together.

    `tensor` is x, or where of_x is 0 the tensor whose mean over `mean` it is. `scale` is 1 over a root.
    """

    tensor: str
    of_x: float
    of_mean: float
    mean: AveragedAxes | None
    nodes: Nodes
    scale: Moment | None = None
    gamma: str | None = None
    beta: str | None = None

    @property
    def is_centred(self) -> bool:
        """Whether it is x - E[x], or E[x] - x, and nothing else."""
        bare = self.scale is None and self.gamma is None and self.beta is None
        return bare and abs(self.of_x) == 1.0 and self.of_x == -self.of_mean


@dataclass(frozen=True)
class Normal:
    """A normalized tensor: (x - E[x]) or x, over sqrt(moment + eps), times gamma plus beta.

    `tensor` is what is normalized and `output` the result so far. `groups` is set once a reshape around it was
    recognised as that of GroupNorm; `grouped_axis` is then the axis of the channels in `tensor`. `core` is the node
    that completes the normalization. `closed`: an operator whose own affine parameters are all there are. `notes` say
    what it does otherwise than its operator would.
    """

    tensor: str
    span: AveragedAxes
    centered: bool
    eps: float
    output: str
    core: int
    nodes: Nodes
    gamma: str | None = None
    beta: str | None = None
    groups: int | None = None
    grouped_axis: int = 1
    closed: bool = False
    moved: bool = False
    notes: tuple[str, ...] = ()

    @property
    def stage(self) -> int:
        """How far it got: one for the reshape around it, gamma and beta each."""
        return sum(part is not None for part in (self.gamma, self.beta, self.groups)) + self.moved


Term = Moment | ElementsLessOne | Squared | Combination | Normal
