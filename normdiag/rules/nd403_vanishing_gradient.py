"""ND403: a chain of bounded activations that hardly lets any gradient through."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from normdiag.ops import FUNCTIONS
from normdiag.records import ActivationMetrics
from normdiag.rules.context import Context
from normdiag.rules.nd401_saturated import BOUNDED
from normdiag.rules.rule import FindingDraft, is_measured, rule

# The steepest slope of each kind; hard_sigmoid as PyTorch has it.
STEEPEST = {kind: function.s_slope for kind, function in FUNCTIONS.items() if function.s_slope is not None}


@rule("ND403", "vanishing-gradient", "warning", slope=0.5, product=0.01)
def vanishing_gradient(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """The hidden activations are all bounded, and the product of their derivatives is next to nothing.

    What it means: going back through a chain of activations, the gradient is multiplied by each one's derivative. The
    root of the product of the mean squared derivatives is what remains of it on this data, if the weights in between
    neither amplify nor dampen.

    When it fires: less than 0.01 remains (limit `product`), and the geometric mean of the slopes is under half (limit
    `slope`) of the steepest that the activations have: 0.25 for a sigmoid, 1 for tanh. The second condition is there
    because even perfectly centred sigmoids leave only 0.25^n, and nets of many of them are trained with BatchNorm.

    Why half: in the net of the BatchNorm paper's section 4.1 the slopes are 0.41 of the steepest where training
    stalls, 0.57 where it has recovered and 0.73 to 0.78 with BatchNorm.

    What keeps it silent: a single ReLU, GELU or other unbounded activation among the hidden ones, for then sigmoids
    are gates beside the main path and form no chain; the activation that makes the model's output; random data.

    How to fix it: normalize the input of each activation, start from smaller weights, use residual connections, or
    another activation. The activation named is the one that lets least through.

    Source: Glorot and Bengio 2010, section 4.2.1; Ioffe and Szegedy 2015, section 4.1.
    """
    hidden = [each for each in context.report.activations if not each.final]
    if not is_measured(context.report) or len(hidden) < 2 or any(each.kind not in BOUNDED for each in hidden):
        return
    remains = math.prod(math.sqrt(each.mean_squared_derivative) for each in hidden)
    slope = math.prod(map(_slope, hidden)) ** (1 / len(hidden))
    if remains >= limits["product"] or slope >= limits["slope"]:
        return
    worst = min(hidden, key=_slope)
    yield FindingDraft(
        layers=(worst.name,),
        text=f"lets least through of {len(hidden)} bounded activations in a row, after which "
        f"{remains:.2g} of the gradient is left; their slopes are {100 * slope:.0f}% of the steepest",
        remedy="Normalize the input of these activations, or retrain with smaller initial weights.",
        evidence={"remains": remains, "slope": slope, "depth": len(hidden), "least": _slope(worst)},
        confidence="medium",
    )


def _slope(activation: ActivationMetrics) -> float:
    """The root mean square of the derivative, in units of the steepest."""
    return math.sqrt(activation.mean_squared_derivative) / STEEPEST[activation.kind]
