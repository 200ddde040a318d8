"""A graph as recognition reads it, in any framework: nodes of arithmetic as steps, and what is known of tensors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from normdiag.ops import Activation
from normdiag.records import Size, Sizes
from normdiag.records.model import Array

# A tensor by its name, or a number that stands in the call itself.
Operand = str | float


@dataclass(frozen=True, eq=False)
class Step:
    """One node.

    `place` is its place among the nodes of its graph. `kind`: add, sub, mul, div, pow, square, sqrt, rsqrt, reciprocal,
    neg, max, min, erf; mean, sum, sum_square, norm (its root), variance and deviation over `axes` (`kept`: with size 1
    in the output; `unbiased`: divided by n - 1); pass (the same values: identity, cast, dropout); reshape, broadcast (a
    new axis) and expand (repeated): the same values under other sizes (`like` names the tensor whose sizes a reshape
    takes, where it takes those of one); instance_norm, with a scale, a shift and `eps`; batch_norm, with a mean, a
    variance and `eps` but no scale and shift; and function, one of the registry of activations, or clip, which is
    another by its bounds (`function`, None where its numbers are not known).
    """

    place: int
    kind: str
    inputs: tuple[Operand, ...]
    output: str
    axes: tuple[int, ...] = ()
    kept: bool = True
    unbiased: bool = False
    eps: float = 0.0
    like: str = ""
    function: Activation | None = None


class Tensors(Protocol):
    """What recognition asks of the tensors of a graph."""

    def is_constant(self, operand: Operand) -> bool:
        """Whether it depends on no input of the graph."""

    def scalar(self, operand: Operand) -> float | None:
        """A number, or a constant of one element; None of anything else."""

    def array(self, operand: Operand) -> Array | None:
        """The values of a constant; None of anything else, and of what is too large to be a parameter."""

    def shape(self, operand: Operand) -> tuple[int | None, ...] | None:
        """Its dimensions, None for one that is free; None where not even their number is known."""

    def rank(self, operand: Operand) -> int | None:
        """The number of its dimensions."""

    def sizes(self, operand: Operand) -> Sizes | None:
        """Its dimensions with free ones as symbols; None where they are not known."""

    def count(self, operand: Operand) -> Size | None:
        """The number of elements that it holds, where the graph computes it from dimensions."""

    def read_only_by(self, operand: Operand, places: Collection[int]) -> bool:
        """Whether nobody reads it but the nodes at these places."""

    def used_once(self, operand: Operand) -> bool:
        """Whether one node, and nobody else, reads it."""

    def root(self, operand: Operand) -> str:
        """The tensor whose values it hands on, through steps that pass; "" for a number."""

    def maker(self, operand: Operand) -> Step | None:
        """The step that writes it."""
