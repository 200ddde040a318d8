"""What one entry of the zoo says, and how its entries are collected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import onnx

from normdiag.records import FoldPlan
from tests.nets.onnx.net import OnnxNet

OPSETS = (9, 11, 13, 17, 21)
Build = Callable[[OnnxNet], Any]
Check = Callable[[onnx.ModelProto, onnx.ModelProto, FoldPlan], None]


@dataclass(frozen=True)
class OnnxCase:
    """One graph and what folding must make of it.

    `becomes`: the operators of the main graph afterwards, in order, without Constant nodes; several readings are
    divided by `|`. `folded`: how many norms go, None where a chain of Mul and Add may be called a norm or not.
    `refused`: a regular expression for the reason of each norm that stays. `opset` None: whichever has its turn.
    `runs` is False where no runtime knows it or its numbers are not finite. `check` looks at original, folded, plan.
    """

    name: str
    build: Build
    becomes: str
    folded: int | None = 1
    refused: tuple[str, ...] = ()
    opset: int | None = None
    dtypes: tuple[str, ...] = ("float32", "float64")
    norms: frozenset[str] = frozenset({"batch"})
    runs: bool = True
    check: Check | None = None

    def model(self, dtype: str) -> onnx.ModelProto:
        net = OnnxNet(dtype, self.opset or 17, seed=sum(map(ord, self.name)))
        changed = self.build(net)
        return changed if isinstance(changed, onnx.ModelProto) else net.model()


class Zoo:
    """The cases of one file. `self.case(...)` decorates a function that builds a graph."""

    def __init__(self) -> None:
        self.cases: list[OnnxCase] = []
        self._turn = count()

    def add(self, name: str, build: Build, becomes: str, **options: Any) -> None:
        case = OnnxCase(name, build, becomes, **options)
        if case.opset is None:
            case = replace(case, opset=OPSETS[next(self._turn) % len(OPSETS)])
        self.cases.append(case)

    def case(self, becomes: str, **options: Any) -> Callable[[Build], Build]:
        """The decorated function builds the graph on a OnnxNet; it may return a whole model instead."""

        def keep(build: Build) -> Build:
            self.add(build.__name__, build, becomes, **options)
            return build

        return keep

    def each(
        self, name: str, values: Sequence[Any], becomes: str, **options: Any
    ) -> Callable[[Callable[..., Any]], None]:
        """One case for each value: the decorated function takes the OnnxNet and the value."""

        def keep(build: Callable[..., Any]) -> None:
            for value in values:
                label = "_".join(map(str, value)) if isinstance(value, tuple) else str(value)
                self.add(f"{name}_{label}", lambda g, value=value: build(g, value), becomes, **options)

        return keep
