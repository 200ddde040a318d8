"""The graph of a model whose code stays as it is: which of its parameters can get other values, and why others not."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

from torch.export import ExportedProgram

from normdiag.folding.pytorch.neutral import neutral_value
from normdiag.folding.sources import LAYER_KINDS
from normdiag.graph.importers.torch_export import stored_names
from normdiag.records import Constant, Conv, Detail, Linear, Norm, OpGraph, Parameter, ScaleShift

COMPUTED = "is computed by the code of the model"
IN_THE_CODE = "is part of the code of the model"
NOT_NEUTRAL = "is computed by the code of the model, and no stored value makes it do nothing"
NOT_PLAIN = "is not one number for each channel"


def fixed_graph(graph: OpGraph, program: ExportedProgram, storable: Container[str]) -> OpGraph:
    """The graph with an obstacle at everything that values in the checkpoint cannot change.

    `storable` are the names, in the program's state dict, of what the checkpoint stores.
    """
    code = _FixedCode(program, storable)
    ops = tuple(replace(op, detail=code.of(op.detail)) for op in graph.ops)
    return replace(graph, ops=ops, stored=stored_names(program), fixed=True)


@dataclass(frozen=True, eq=False)
class _FixedCode:
    program: ExportedProgram
    storable: Container[str]

    def of(self, detail: Detail) -> Detail:
        """What an op does, with the obstacles of its parameters."""
        if isinstance(detail, Conv | Linear):
            weight, bias = self._kept(detail.weight), detail.bias and _plain(self._kept(detail.bias))
            scaled = isinstance(detail, Linear) and detail.beta != 1.0
            return replace(detail, weight=_blocked(weight, IN_THE_CODE) if scaled else weight, bias=bias)
        if isinstance(detail, Norm):
            return self._norm(detail)
        if isinstance(detail, ScaleShift):
            return replace(detail, obstacle=detail.obstacle or IN_THE_CODE)
        return replace(detail, value=self._kept(detail.value)) if isinstance(detail, Constant) else detail

    def _norm(self, norm: Norm) -> Norm:
        """Of a norm that stays, gamma and beta must have values that do nothing; others take new ones."""
        if norm.layer.kind in LAYER_KINDS:
            gamma, beta = norm.gamma and self._neutral(norm.gamma, 1.0), norm.beta and self._kept(norm.beta)
        else:
            gamma, beta = norm.gamma and self._kept(norm.gamma), norm.beta and self._kept(norm.beta)
        return replace(norm, gamma=gamma, beta=beta)

    def _kept(self, parameter: Parameter) -> Parameter:
        stored = stored_names(self.program).get(parameter.name) in self.storable
        return _alone(parameter) if stored else _blocked(parameter, COMPUTED)

    def _neutral(self, parameter: Parameter, wanted: float) -> Parameter:
        found = neutral_value(self.program, parameter.name, wanted)
        known = found is not None and found.name in self.storable
        return _alone(parameter) if known else _blocked(parameter, NOT_NEUTRAL)


def _alone(parameter: Parameter) -> Parameter:
    others = parameter.shared_with
    return _blocked(parameter, f"is also used by {others[0]}") if others else parameter


def _plain(bias: Parameter) -> Parameter:
    """A bias that is one number, or varies along other axes, would need another shape."""
    return bias if len(bias.shape) == 1 else _blocked(bias, NOT_PLAIN)


def _blocked(parameter: Parameter, why: str) -> Parameter:
    """With this obstacle, where it has none yet."""
    return replace(parameter, obstacle=parameter.obstacle or why)
