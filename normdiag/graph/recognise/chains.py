"""Chains of elementwise arithmetic with constants: a BatchNorm taken apart, a scale and shift, a bias.

A chain is y = scale * x + shift. Each of its constants varies along one axis, the channels, the same for all, or is a
single number; nobody else reads what lies inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from normdiag.graph.eval_norm import NOT_TOLD
from normdiag.records import NormLayer
from normdiag.records.model import Array


@dataclass(frozen=True, eq=False)
class Link:
    """One step as scale * x + shift: float64, of the rank of x, with size 1 where they do not vary.

    `data` and `output` name x and y; `obstacle` says why a constant of it must not be rewritten. `frame` is the call of
    a module that it belongs to, and a chain does not leave it.
    """

    data: str
    output: str
    operator: str
    scale: Array
    shift: Array
    obstacle: str | None = None
    frame: object = None

    @property
    def axis(self) -> int | None:
        """Where it varies; None for numbers alone."""
        axes = (axis for each in (self.scale, self.shift) for axis, size in enumerate(each.shape) if size > 1)
        return next(axes, None)


@dataclass(frozen=True, eq=False)
class Chain:
    """Links that follow each other."""

    links: tuple[Link, ...]

    @property
    def axis(self) -> int | None:
        """Where it varies; None for numbers alone."""
        return next((link.axis for link in self.links if link.axis is not None), None)

    @property
    def operator(self) -> str:
        """All of its operators."""
        return "+".join(link.operator for link in self.links)

    @property
    def obstacle(self) -> str | None:
        """Why one of its constants must not be rewritten."""
        return next((link.obstacle for link in self.links if link.obstacle), None)

    @property
    def is_norm(self) -> bool:
        """Whether it scales and shifts, each channel in its own way."""
        return any(link.scale.size > 1 for link in self.links) and any(link.shift.size > 1 for link in self.links)

    def composed(self) -> tuple[Array, Array] | None:
        """Scale and shift of all; None where these are not finite."""
        scale, shift = np.ones(()), np.zeros(())
        with np.errstate(all="ignore"):
            for link in self.links:
                scale, shift = link.scale * scale, link.scale * shift + link.shift
        return (scale, shift) if np.isfinite(scale).all() and np.isfinite(shift).all() else None

    def layer(self, scale: Array, shift: Array) -> NormLayer:
        """The BatchNorm that was taken apart, as the scale and shift that it is; its name comes later."""
        return NormLayer(
            name="",
            kind="batch_norm",
            origin="decomposed",
            channels=scale.size,
            gamma=scale.reshape(-1),
            beta=np.broadcast_to(shift, scale.shape).reshape(-1),
            training=False,
            class_name=self.operator,
            notes=(NOT_TOLD,),
        )


def chains(links: Mapping[str, Link], reader: Callable[[str], str | None]) -> Iterator[Chain]:
    """The chains among links by their outputs, in the order of a graph.

    `reader` names what the one node writes that alone reads a tensor, None where there is none, or are several.
    """
    taken: set[str] = set()
    for first in links.values():
        if first.output not in taken:
            chain = tuple(_following(first, links, reader))
            taken.update(link.output for link in chain)
            yield Chain(chain)


def _following(link: Link, links: Mapping[str, Link], reader: Callable[[str], str | None]) -> Iterator[Link]:
    """A link and those after it, as long as they vary along one axis."""
    axis, following = None, link
    while True:
        yield following
        axis = following.axis if axis is None else axis
        after = links.get(reader(following.output) or "")
        if after is None or after.frame != link.frame or (axis is not None and after.axis not in (None, axis)):
            return
        following = after
