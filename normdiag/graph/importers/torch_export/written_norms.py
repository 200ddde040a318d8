"""Normalization that the code of a model spells out, as Ops."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch.fx import Node

from normdiag.graph.eval_norm import eval_affine
from normdiag.graph.importers.torch_export.calls import module_of, rank_of
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.graph.importers.torch_export.steps import TorchTensors
from normdiag.graph.recognise.normals import find_normals
from normdiag.graph.recognise.terms import Normal, Term
from normdiag.graph.recognise.written_out import ELSEWHERE, WrittenOut, written_out
from normdiag.records import NormLayer
from normdiag.records.ops import Norm, Parameter


def written_norms(program: Program) -> Iterator[AnchoredOp]:
    """A draft for each of them.

    A gamma and a beta along other axes than those of an operator's are operations of their own, after the norm.
    """
    tensors = TorchTensors(program)
    normals, terms = find_normals(tensors.steps.values(), tensors)
    for normal in normals:
        found = written_out(normal, tensors)
        if found is None:
            continue
        bare = None if _as_an_operator(found, tensors) else _without_parameters(normal, terms)
        taken = (written_out(bare, tensors) if bare is not None else None) or found
        yield _draft(_from_its_source(taken, tensors), found.layer, tensors)


def _as_an_operator(found: WrittenOut, tensors: TorchTensors) -> bool:
    """Whether gamma and beta are shaped as those of an operator of this kind."""
    names = [name for name in (found.gamma, found.beta) if name]
    if found.layer.kind in ("layer_norm", "rms_norm"):
        return not names or found.trailing
    return all(rank_of(tensors.nodes[name]) == 1 for name in names)


def _without_parameters(normal: Normal, terms: Mapping[str, Term]) -> Normal | None:
    """The same normalization as it is before its gamma and beta; None where these are among what it computes first."""
    stages = (each for each in terms.values() if isinstance(each, Normal) and each.core == normal.core)
    bare = [each for each in stages if each.gamma is None and each.beta is None and not each.closed]
    return max(bare, key=lambda each: each.stage, default=None)


def _from_its_source(found: WrittenOut, tensors: TorchTensors) -> WrittenOut:
    """The same with the casts before it that nobody else reads."""
    step = tensors.maker(found.input)
    if step is None or step.kind != "pass" or not isinstance(step.inputs[0], str):
        return found
    readers = {tensors.program.index[each] for each in tensors.program.readers(tensors.nodes[found.input])}
    if not readers <= set(found.nodes):
        return found
    return _from_its_source(replace(found, input=step.inputs[0], nodes=(step.place, *found.nodes)), tensors)


def _draft(found: WrittenOut, layer: NormLayer, tensors: TorchTensors) -> AnchoredOp:
    program, core = tensors.program, tensors.program.nodes[found.core]
    _, path, class_name = module_of(core)
    training = layer.kind == "batch_norm"  # what its layer in training mode would do, this does always
    layer = replace(layer, name=path, class_name=class_name or None, training=training)
    affine = eval_affine(layer) if training else None
    given = tuple(tensors.nodes[name] for name in (found.gamma, found.beta) if name)
    gamma, beta = (_parameter(name, found, tensors) for name in (found.gamma, found.beta))
    axis = found.channel_axis % found.rank if found.rank else found.channel_axis
    detail = Norm(layer, axis, gamma, beta, obstacle=affine if isinstance(affine, str) else None)
    return AnchoredOp(core, layer.kind, "norm", detail, (found.input,), (found.output,), _nodes(found, program), given)


def _parameter(name: str, found: WrittenOut, tensors: TorchTensors) -> Parameter | None:
    parameter = tensors.program.parameter(tensors.nodes[name]) if name else None
    return parameter if parameter is None or found.trailing else replace(parameter, obstacle=ELSEWHERE)


def _nodes(found: WrittenOut, program: Program) -> tuple[Node, ...]:
    """Those of its steps, and what returns several tensors of which these take one."""
    nodes = [program.nodes[place] for place in sorted(found.nodes)]
    sources = (node.args[0] for node in nodes if node.target is operator.getitem)
    return (*dict.fromkeys(each for each in sources if isinstance(each, Node)), *nodes)
