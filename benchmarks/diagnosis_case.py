"""A planted fault, and what `check` says of it with data, of its .onnx export, and of its weights alone."""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import normdiag
from benchmarks.diagnosis_subjects import Subject, accuracy
from normdiag.records import Finding, Target

BATCH = 50
COSTS = 2.0


@dataclass(frozen=True, eq=False)
class Case:
    """One fault of one strength in one place.

    `layers` are those that may be named. `x` is what the model is fed, if not the subject's images. `before` is the
    accuracy of the same weights without the fault, if not the subject's; `measure` tells the accuracy with it.
    `onnx` writes the faulty export where replacing the parameters of the healthy one does not do, `weights` is the file
    of weights if it is more than a state dict.
    """

    subject: Subject
    fault: str
    strength: str
    place: str
    layers: frozenset[str]
    module: nn.Module | None = None
    x: Tensor | None = None
    before: float | None = None
    measure: Callable[[nn.Module], float] | None = None
    target: Target | None = None
    serve_batch: int | None = None
    onnx: Callable[[Path], None] | None = None
    weights: Mapping[str, object] | None = None
    run_onnx: bool = False


@dataclass(frozen=True)
class Verdict:
    """What one way of looking said that it does not say of the healthy model, errors first.

    `found`: by a warning or an error. `named`: some new finding names a right layer; `first`: the first that names
    a layer names a right one. `elsewhere`: how many drift findings (ND301) are at layers that are not faulty.
    """

    rules: tuple[str, ...] = ()
    found: bool = False
    named: bool = False
    first: bool = False
    error: bool = False
    elsewhere: int = 0
    texts: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, eq=False)
class Result:
    """A case with its accuracy without and with the fault, and the verdicts."""

    case: Case
    before: float
    after: float
    data: Verdict
    graph: Verdict | None
    weights: Verdict | None

    @property
    def costs(self) -> bool:
        return self.before - self.after > COSTS


def examine(case: Case, *, with_data: bool = True) -> Result:
    """Measure the accuracy and ask `check` in three ways, or only in the two that need no data."""
    subject = case.subject
    module = case.module if case.module is not None else subject.module
    x = case.x if case.x is not None else subject.x
    before = case.before if case.before is not None else healthy_accuracy(subject)
    after = case.measure(module) if case.measure else accuracy(module, x, subject.images.labels)
    options = {"target": case.target, "serve_batch": case.serve_batch}
    with tempfile.TemporaryDirectory() as folder:
        exported = write_onnx(case, module, Path(folder) / "faulty.onnx")
        model = exported if case.run_onnx else module
        data = judge(case, look(model, x, **options), healthy(subject, "data")) if with_data else Verdict()
        graph = judge(case, look(exported, **options), healthy(subject, "graph")) if exported else None
        weights = None
        if case.x is None:  # what is fed is no matter of the file
            torch.save(case.weights or module.state_dict(), Path(folder) / "faulty.pt")
            weights = judge(case, look(Path(folder) / "faulty.pt", **options), healthy(subject, "weights"))
    return Result(case, before, after, data, graph, weights)


def look(model: nn.Module | Path | None, x: Tensor | None = None, **options: object) -> tuple[Finding, ...]:
    """The findings on a module or a file, with or without data."""
    batches = None if x is None else x.numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = normdiag.inspect(
            model,
            batches,
            data_options=normdiag.DataOptions(batch_size=BATCH),
            **options,  # type: ignore[arg-type]
        )
    return report.findings


@cache
def healthy(subject: Subject, way: str) -> tuple[Finding, ...]:
    """The findings on the subject itself: what a fault adds to them is what was found."""
    if way == "data":
        return look(subject.module, subject.x)
    with tempfile.TemporaryDirectory() as folder:
        if way == "graph":
            path = Path(folder) / "healthy.onnx"
            onnx.save(healthy_onnx(subject), path)
            return look(path)
        torch.save(subject.module.state_dict(), Path(folder) / "healthy.pt")
        return look(Path(folder) / "healthy.pt")


@cache
def healthy_accuracy(subject: Subject) -> float:
    return accuracy(subject.module, subject.x, subject.images.labels)


def judge(case: Case, findings: Sequence[Finding], known: Sequence[Finding]) -> Verdict:
    """What is new against the healthy model, and whether it leads to the fault."""
    before = {_key(each) for each in known}
    new = [each for each in findings if _key(each) not in before]
    located = [layer for layer in map(_layer, new) if layer is not None]
    new = [each for each in new if each.severity != "info"]
    rules = tuple(dict.fromkeys(each.rule for each in new))
    elsewhere = sum(each.rule == "ND301" and each.layer not in case.layers for each in new)
    return Verdict(
        rules=rules,
        found=bool(new),
        named=any(layer in case.layers for layer in located),
        first=bool(located) and located[0] in case.layers,
        error=any(each.severity == "error" for each in new),
        elsewhere=elsewhere,
        texts=tuple(f"{each.rule} {each.severity} {each.message}" for each in new),
    )


def _layer(finding: Finding) -> str | None:
    """The layer that a finding names; that on the gap names in passing the one that drifts most by itself."""
    worst = finding.evidence.get("worst_layer")
    return finding.layer or (None if worst is None else str(worst))


def _key(finding: Finding) -> tuple[str, str | None, str]:
    return finding.rule, finding.layer, finding.severity


def write_onnx(case: Case, module: nn.Module, path: Path) -> Path | None:
    """The export of the faulty model. Exporting takes seconds: as a rule the healthy one gets the faulty parameters."""
    if case.onnx is not None:
        case.onnx(path)
        return path
    if case.x is not None or not case.subject.batch_norms:
        return None
    proto = onnx.ModelProto()
    proto.CopyFrom(healthy_onnx(case.subject))
    state = module.state_dict()
    for tensor in proto.graph.initializer:
        if tensor.name in state:
            tensor.CopyFrom(numpy_helper.from_array(state[tensor.name].numpy(), tensor.name))
    onnx.save(proto, path)
    return path


@cache
def healthy_onnx(subject: Subject) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(subject.module, subject.x[:3], path)
        return onnx.load(path)


def export(module: nn.Module, example: Tensor, path: Path) -> None:
    """With the norms left in (the exporter's optimizer folds them) and a free batch axis."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            copy.deepcopy(module),
            (example,),
            path,
            dynamo=True,
            optimize=False,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )


def in_half(module: nn.Module) -> nn.Module:
    """A copy that stands for a float16 deployment: parameters, statistics and eps rounded, inputs of norms held in it.

    The sums of LayerNorm and RMSNorm are taken in float16 too, as a graph of single operations takes them.
    """
    module = copy.deepcopy(module)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    for each in module.modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.RMSNorm):
            each.eps = float(np.float16(each.eps or 0.0))
            each.register_forward_hook(
                _half_output if isinstance(each, nn.LayerNorm | nn.RMSNorm) else _half_batch_norm
            )
    return module


def _half_batch_norm(norm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
    x = inputs[0].half().float()
    shape = [1, -1] + [1] * (x.ndim - 2)
    mean, var, gamma, beta = (
        each.view(shape) for each in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return ((x - mean) * (gamma / torch.sqrt(var + norm.eps)) + beta).half().float()


def _half_output(norm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
    x = inputs[0].half()
    centred = x - x.mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else x
    mean_square = (centred * centred).float().mean(-1, keepdim=True).half().float()
    scaled = centred.float() / torch.sqrt(mean_square + norm.eps) * norm.weight
    return (scaled + norm.bias).half().float() if isinstance(norm, nn.LayerNorm) else scaled.half().float()
