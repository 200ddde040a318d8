"""ND204: BatchNorm statistics that were gathered behind a dropout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from normdiag.records import Norm, Op, OpGraph, Pass, Report
from normdiag.rules.alike import alike
from normdiag.rules.flow import Flow, flow
from normdiag.rules.rule import Draft, rule

# What leaves the ratio of the variances as it is where the values have a mean of zero.
TRANSPARENT = frozenset(
    {"conv", "conv_transpose", "linear", "scale_shift", "identity", "reshape", "transpose", "pool", "resize", "pad"}
    | {"concat", "split", "dropout"}
)
HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "PRelu"})


@dataclass(frozen=True)
class Shifted:
    """A BatchNorm and the dropout before it, with the share of the values that this keeps in training."""

    norm: str
    dropout: str
    keep: float

    @property
    def drift(self) -> float:
        """How far the norm's output is from a standard deviation of 1 in eval mode."""
        return 1.0 - math.sqrt(self.keep)


@rule("ND204", "dropout-before-norm", "warning", drift=0.1)
def dropout_before_norm(report: Report, limits: Mapping[str, float]) -> Iterator[Draft]:
    """A dropout lies in front of a BatchNorm, whose statistics were gathered with it on and are used with it off.

    What it means: a dropout that keeps a share k of the values and divides them by k leaves their mean as it is and
    multiplies the variance of values around zero by 1/k. The running variance was gathered so; in eval mode nothing
    is dropped, the variance is k times smaller, and the layer's output has sqrt(k) of its standard deviation. That is a
    drift of 1 - sqrt(k): 0.29 for a dropout of 0.5. Convolutions and linear layers between the two hand the ratio
    on, and pull it towards 1 where their inputs are correlated; values with a mean away from zero make it worse.

    Why this limit: healthy networks drift by 0.1 and more for other reasons (ND301), so a dropout of 0.19 or less is
    information, and a warning begins where the expected drift is above 0.1 (limit `drift`).

    What keeps it silent: a sum with a branch without dropout, or another nonlinearity than ReLU and its leaky kin,
    behind which the ratio is not known; and exports without Dropout nodes, which is most of them. If the statistics
    were gathered again in eval mode, nothing is wrong: data shows it (ND301). Only ONNX models are looked at.

    How to fix it: put the dropout behind the last BatchNorm, or recalibrate the statistics with the dropout off and
    compare the accuracy before and after.

    Source: Li et al. 2018, Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift,
    section 3.
    """
    graph = report.graph
    if graph is None:
        return
    for found in alike(sorted(_shifted(graph), key=lambda each: each.keep), lambda each: each.keep).values():
        keep, drift = found[0].keep, found[0].drift
        yield Draft(
            layers=tuple(each.norm for each in found),
            text=f"statistics gathered with {100 * (1 - keep):.0f} % dropped in training; with the dropout off, the "
            f"standard deviation is up to {100 * drift:.0f} % smaller",
            remedy="Put the dropout behind the last BatchNorm, or recalibrate with the dropout off and measure.",
            evidence={"keep": keep, "expected_drift": drift, "layers": len(found)},
            details={each.norm: f"behind {each.dropout}" for each in found},
            severity="warning" if drift > limits["drift"] else "info",
            confidence="medium",
        )


def _shifted(graph: OpGraph) -> list[Shifted]:
    """Each BatchNorm behind a dropout, once, with the dropout that drops most."""
    links = flow(graph)
    found: dict[str, Shifted] = {}
    for op in graph.ops:
        keep = op.detail.keep if op.kind == "dropout" and isinstance(op.detail, Pass) else None
        if keep is None or not 0.0 < keep < 1.0:
            continue
        for norm in _norms_behind(op, links):
            if norm not in found or keep < found[norm].keep:
                found[norm] = Shifted(norm, op.name, keep)
    return list(found.values())


def _norms_behind(start: Op, links: Flow) -> Iterator[str]:
    """BatchNorm layers with running statistics that a dropout's output reaches."""
    queue, seen = [start], {id(start)}
    while queue:
        for op in links.after(queue.pop()):
            if id(op) in seen:
                continue
            seen.add(id(op))
            if isinstance(op.detail, Norm) and op.detail.layer.kind == "batch_norm" and op.detail.scale is not None:
                yield op.detail.layer.name
            elif op.kind in TRANSPARENT or op.operator in HOMOGENEOUS:
                queue.append(op)
