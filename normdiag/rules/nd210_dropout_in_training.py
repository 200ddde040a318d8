"""ND210: a Dropout that still drops in an exported model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.records import Op, Opaque
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule


@rule("ND210", "dropout-in-training", "warning")
def dropout_in_training(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A Dropout was exported in training mode: it drops at random wherever the model runs.

    What it means: the node's input `training_mode` is true. Runtimes honour that: the same input gives another output
    each time, and part of the accuracy is gone. BatchNorm layers of the same export tend to be in training mode as well
    (ND201); statistics after such a dropout are those of training, so that drift does not show it.

    Why a warning: dropping at inference may be meant, to sample how sure a model is (Monte Carlo dropout). Then ignore
    the rule for this file.

    What keeps it silent: `training_mode` left out, false (by default, where the caller may set it), or an input of the
    graph that the caller has to set; operator sets before 12, in which a Dropout hands its input on. Only ONNX models
    with a normalization layer are looked at.

    How to fix it: call model.eval() and export again. torch.onnx.export does so itself unless `training` says
    otherwise, but a forward that calls functional.dropout without `training=self.training` drops in eval mode too.

    Source: ONNX operator Dropout, version 12; Gal and Ghahramani 2016, Dropout as a Bayesian Approximation.
    """
    names = [op.name for op in context.graph.ops if _drops(op)] if context.graph else []
    if names:
        yield FindingDraft(
            layers=tuple(names),
            text="drops at random, for it was exported in training mode; the same input gives another output each time",
            remedy="Export again in eval mode, and look for functional.dropout without training=self.training.",
            evidence={"dropouts": len(names)},
        )


def _drops(op: Op) -> bool:
    """With a second input the mode is computed or left to the caller."""
    random = isinstance(op.detail, Opaque) and op.detail.why == "a dropout in training mode"
    return op.operator == "Dropout" and random and len(op.inputs) == 1
