"""The algebra of decomposed normalization: what a tensor is in terms of the moments of another tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Nodes = frozenset[int]


@dataclass(frozen=True)
class AveragedAxes:
    """A tensor, by the root of its name, and the axes over which it is averaged (from 0 where its rank is known)."""

    x: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Moment:
    """(moment + eps) ** power * gamma, where moment is E[x], E[x^2] or E[(x - E[x])^2] over the axes of `span`.

    `total`: a sum that is still to be divided by the number of elements. `kept`: the reduced axes are there with size
    1, so that it broadcasts against x. `gamma` names a constant.
    """

    kind: Literal["mean", "square", "variance"]
    span: AveragedAxes
    nodes: Nodes
    tensor: str
    kept: bool = True
    total: bool = False
    eps: float = 0.0
    power: float = 1.0
    gamma: str | None = None

    @property
    def key(self) -> tuple[AveragedAxes, float, str | None]:
        """What two uses of the same statistics have in common."""
        return self.span, self.eps, self.gamma


@dataclass(frozen=True)
class Centered:
    """(x - E[x]) * gamma."""

    span: AveragedAxes
    nodes: Nodes
    tensor: str
    gamma: str | None = None


@dataclass(frozen=True)
class Squared:
    """x^2, or (x - E[x])^2 over `axes`."""

    x: str
    axes: tuple[int, ...] | None
    nodes: Nodes
    tensor: str


@dataclass(frozen=True)
class Product:
    """x or E[x] times a standard deviation's reciprocal: the two halves of (x - E[x]) * rstd written out.

    `of` is "x", "mean", or "offset" for beta - E[x] * rstd.
    """

    of: Literal["x", "mean", "offset"]
    scale: Moment
    nodes: Nodes
    tensor: str
    beta: str | None = None


@dataclass(frozen=True)
class Normal:
    """A normalized tensor: (x - E[x]) or x, over sqrt(moment + eps), times gamma plus beta.

    `tensor` is what is normalized and `output` the result so far. `groups` is set once a reshape around it was
    recognised as that of GroupNorm; `grouped_axis` is then the axis of the channels in `tensor`. `core` is the node
    that completes the normalization. `closed`: an operator whose own affine parameters are all there are.
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

    @property
    def stage(self) -> int:
        """How far it got: one for the regrouping, gamma and beta each."""
        return sum(part is not None for part in (self.gamma, self.beta, self.groups))


Term = Moment | Centered | Squared | Product | Normal
