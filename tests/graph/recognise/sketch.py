"""A graph in steps, written down by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from normdiag.graph.recognise.steps import Operand, Step
from normdiag.records import Size, Sizes
from normdiag.records.model import Array


@dataclass(eq=False)
class Sketch:
    """Steps as they are written down, and the tensors that they read."""

    shapes: dict[str, tuple[int | None, ...]]
    constants: dict[str, Array] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    def __call__(self, output: str, kind: str, *inputs: Operand, **more: object) -> str:
        step = Step(len(self.steps), kind, inputs, output, **more)  # type: ignore[arg-type]
        self.steps[output] = step
        first = self.shapes.get(str(inputs[0]), ())
        if step.axes and not step.kept:
            first = tuple(size for axis, size in enumerate(first) if axis not in step.axes)
        self.shapes.setdefault(output, first)
        return output

    def is_constant(self, operand: Operand) -> bool:
        return not isinstance(operand, str) or operand in self.constants

    def scalar(self, operand: Operand) -> float | None:
        value = self.array(operand) if isinstance(operand, str) else np.asarray(operand)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def array(self, operand: Operand) -> Array | None:
        return self.constants.get(operand) if isinstance(operand, str) else None

    def shape(self, operand: Operand) -> tuple[int | None, ...] | None:
        return self.shapes.get(operand) if isinstance(operand, str) else ()

    def sizes(self, operand: Operand) -> Sizes | None:
        shape = self.shape(operand)
        free = ((f"{operand}/{axis}",) if axis else ("n",) for axis in range(9))
        return None if shape is None else tuple(Size(size or 1, () if size else next(free)) for size in shape)

    def count(self, operand: Operand) -> Size | None:
        return None

    def read_only_by(self, operand: Operand, places: Collection[int]) -> bool:
        reading = {step.place for step in self.steps.values() if operand in step.inputs}
        return reading <= set(places) and operand not in self.outputs

    def rank(self, operand: Operand) -> int | None:
        shape = self.shape(operand)
        return None if shape is None else len(shape)

    def used_once(self, operand: Operand) -> bool:
        uses = Counter(each for step in self.steps.values() for each in step.inputs)
        return uses[operand] + self.outputs.count(str(operand)) == 1

    def root(self, operand: Operand) -> str:
        while isinstance(operand, str) and operand in self.steps and self.steps[operand].kind == "pass":
            operand = self.steps[operand].inputs[0]
        return operand if isinstance(operand, str) else ""

    def maker(self, operand: Operand) -> Step | None:
        return self.steps.get(operand) if isinstance(operand, str) else None
