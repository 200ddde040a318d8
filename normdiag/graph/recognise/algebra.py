"""What is known of the tensors of a graph while its normalizations are looked for."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from normdiag.graph.recognise.spans import source_span
from normdiag.graph.recognise.steps import Operand, Step, Tensors
from normdiag.graph.recognise.terms import AveragedAxes, Combination, Moment, Term

# Exporters store 1 / n and sqrt(n) as float32, people write 0.0167 for 1 / 60.
CLOSE = 1e-3
MAX_EXPANDS = 4
LARGEST = 1e300
_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
}


@dataclass(frozen=True, eq=False)
class Algebra:
    """The tensors, the terms found so far, and the numbers that the graph computes from dimensions."""

    tensors: Tensors
    terms: dict[str, Term] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)

    def term(self, operand: Operand) -> Term | None:
        """What a tensor is."""
        return self.terms.get(operand) if isinstance(operand, str) else None

    def is_data(self, operand: Operand) -> bool:
        """Whether it is a tensor that depends on the inputs of the graph."""
        return isinstance(operand, str) and not self.tensors.is_constant(operand)

    def span(self, tensor: str, axes: tuple[int, ...]) -> AveragedAxes:
        """The span of `axes` of a tensor."""
        return source_span(self.tensors, tensor, axes)

    def count(self, tensor: str, axes: tuple[int, ...]) -> int | None:
        """How many elements lie along axes of a tensor; None where one of them is free."""
        shape = self.tensors.shape(tensor)
        if shape is None or any(not -len(shape) <= axis < len(shape) for axis in axes):
            return None
        sizes = [shape[axis] for axis in axes]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def number(self, operand: Operand) -> float | None:
        """A constant of one element, or a number that follows from known dimensions."""
        value = self.tensors.scalar(operand)
        if value is None and isinstance(operand, str):
            count = self.tensors.count(operand)
            value = self.numbers.get(self.tensors.root(operand)) if count is None else count.known
        return None if value is None or abs(value) > LARGEST else float(value)

    def computed(self, step: Step) -> float | None:
        """The number that a step makes of two."""
        rule = _ARITHMETIC.get(step.kind)
        left = self.number(step.inputs[0]) if rule is not None else None
        right = self.number(step.inputs[1]) if left is not None else None
        if rule is None or left is None or right is None or (step.kind == "div" and right == 0.0):
            return None
        return rule(left, right)

    def constant(self, operand: Operand) -> str | None:
        """The constant that a tensor is, as far as its values go: an Expand repeats them."""
        for _ in range(MAX_EXPANDS):
            if not isinstance(operand, str):
                return None
            maker = self.tensors.maker(operand)
            if maker is None or maker.kind != "expand":
                return operand if self.tensors.is_constant(operand) else None
            operand = maker.inputs[0]
        return None

    def readings(self, operand: Operand) -> Iterator[Combination]:
        """What a tensor may be a part of: of a normalization of itself, or of another tensor's."""
        if not isinstance(operand, str) or self.tensors.is_constant(operand):
            return
        yield Combination(operand, 1.0, 0.0, None, frozenset())
        term = self.term(operand)
        if isinstance(term, Combination):
            yield term
        if isinstance(term, Moment) and term.kind == "mean" and term.is_plain and term.kept and is_close(term.factor):
            yield Combination(term.tensor, 0.0, 1.0, term.span, term.nodes)


def is_close(factor: float) -> bool:
    """Whether a factor was meant to be 1."""
    return abs(factor - 1.0) < CLOSE


def orders(step: Step) -> tuple[tuple[Operand, Operand], tuple[Operand, Operand]]:
    """The two operands of a step, either first."""
    a, b = step.inputs[:2]
    return (a, b), (b, a)
