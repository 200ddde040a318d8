"""ND111: gamma and beta that do not look like gamma and beta."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.metrics.affine import oddities
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule


@rule("ND111", "odd-affine", "warning")
def odd_affine(seen: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """Gamma and beta of a BatchNorm do not look like gamma and beta: exchanged, lost, or stored in another form.

    What it means: gamma begins at 1 and beta at 0. In training gamma stays positive in nearly all channels, while beta
    takes both signs. A layer that breaks this while the others keep it was converted or loaded wrongly.

    When it fires: beta is positive throughout with little spread and gamma takes both signs around 0 (they are
    exchanged); or, beside the other layers, far more of gamma is negative (it is stored less one, say), beta is 0 or
    gamma 1 throughout, or gamma is several times as large as in any other.

    Why it matters: statistics cannot show it in the last norm, and recalibrating does not repair it.

    What keeps it silent: habits that all layers share, such as negative gammas after SiLU; fewer than four channels.

    How to fix it: load the layer again from the file that was saved in training, or correct the conversion.

    Source: Ioffe and Szegedy 2015, algorithm 1; the initial values of torch.nn.BatchNorm2d.
    """
    found = oddities([each.layer for each in seen.report.layers])
    for name, odd in found.items():
        yield FindingDraft(
            layers=(name,),
            text=odd,
            remedy="Load gamma and beta again from the file that was saved in training.",
            severity="warning" if "exchanged" in odd or "negative" in odd else "info",
            confidence="medium",
        )
