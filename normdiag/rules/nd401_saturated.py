"""ND401: a saturated activation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.ops import FUNCTIONS
from normdiag.records import OpGraph
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, is_measured, rule

BOUNDED = frozenset(kind for kind, function in FUNCTIONS.items() if function.s_slope is not None)


@rule("ND401", "saturated", "warning", fraction=0.4, noted=0.2, gate=0.9)
def saturated(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A hidden sigmoid, tanh or hard sigmoid is saturated for a large part of its values.

    What it means: at |x| > 4 (sigmoid) or |x| > 2 (tanh) the derivative is under 7 % of its maximum; the unit has
    become a switch.

    Why it matters: no gradient gets through, so the layers before it no longer learn, and the scale of its input has
    outgrown its weights' initial scale. Normalizing the input of the nonlinearity is the remedy that BatchNorm was
    made for.

    What keeps it silent: an activation whose output is the model's own, which should be sure of itself; ReLU and its
    kin, where half inactive is normal; random data. A gate, whose output is multiplied with another tensor (squeeze and
    excitation), is meant to be open or shut: it is a warning from 90 % on (limit `gate`), where the graph shows that.

    Why these limits: in the net of the BatchNorm paper's section 4.1 the last hidden layer is 48 % saturated where
    training stalls, 20 to 26 % where it has recovered, and at most 3 % with BatchNorm. So 40 % (limit `fraction`) is
    a warning and 20 % (limit `noted`) information. Two standard errors are taken off first.

    How to fix it: normalize before it, lower the learning rate or the initial weights, or use another activation.

    Source: Glorot and Bengio 2010, section 3; Ioffe and Szegedy 2015, section 4.1.
    """
    if not is_measured(context.report):
        return
    gates = _gates(context.graph)
    for each in context.report.activations:
        surely = each.saturated_fraction - 2.0 * (each.saturated_se or 0.0)
        if each.kind in BOUNDED and not each.final and surely > limits["noted"]:
            yield FindingDraft(
                layers=(each.name,),
                text=f"{100 * each.saturated_fraction:.0f}% of the {each.kind}'s values are saturated",
                remedy="Normalize the input of this activation, or retrain with smaller initial weights.",
                evidence={
                    "saturated_fraction": each.saturated_fraction,
                    "mean_squared_derivative": each.mean_squared_derivative,
                },
                severity="warning" if surely > limits["gate" if each.name in gates else "fraction"] else "info",
            )


def _gates(graph: OpGraph | None) -> frozenset[str]:
    """The activations whose output is multiplied with another tensor."""
    ops = () if graph is None else graph.ops
    pairs = (op.inputs for op in ops if op.operator.lower() == "mul" and len(op.inputs) == 2)
    factors = {name for inputs in pairs for name in inputs}
    return frozenset(op.name for op in ops if op.kind == "activation" and factors & set(op.outputs))
