"""ND107: a momentum or eps that means something else here than where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.records import NormLayer
from normdiag.rules.alike import alike
from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule


@rule("ND107", "foreign-convention", "info", momentum=0.9, eps=0.05)
def foreign_convention(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A momentum or an eps looks carried over from another framework's convention.

    What it means: in PyTorch, momentum is the weight of the new batch, 0.1 by default; in TensorFlow, Keras, Caffe and
    ONNX it is the weight of the old value, 0.9 or 0.99. A PyTorch layer with 0.9 or more (limit `momentum`) holds the
    statistics of little more than its last batch. A momentum of 0 updates nothing, however many batches are counted.
    An eps of 0.05 or more (limit `eps`) is 5000 times the default, and most likely a momentum in its place: the second
    positional argument of torch.nn.BatchNorm2d is eps.

    Why it matters: statistics of one batch are noise in eval mode; a large eps shrinks every channel whose variance
    does not dwarf it. A net that was trained so works, which is why this is information; training on goes wrong.

    What keeps it silent: ONNX files, where the momentum has no use in inference (their 0.9 is 0.1 here); momentum 0
    with no batches counted, as in weights that were converted for inference; an eps of 1e-3, with which whole
    families of nets are trained.

    How to fix it: momentum = 1 - the other framework's, before the next training; the eps that the weights were
    trained with stays.

    Source: torch.nn.BatchNorm2d and keras.layers.BatchNormalization, both on momentum.
    """
    layers = [each.layer for each in context.report.layers]
    averaging = [layer for layer in layers if layer.has_statistics and context.report.model.format != "onnx"]
    hasty = [layer for layer in averaging if (layer.momentum or 0.0) >= limits["momentum"]]
    still = [layer for layer in averaging if layer.momentum == 0.0 and (layer.num_batches_tracked or 0) > 0]
    wide = [layer for layer in layers if (layer.eps or 0.0) >= limits["eps"]]
    for momentum, same in alike(hasty, lambda layer: layer.momentum).items():
        told = f"momentum {momentum:g} gives the last batch that share of the running statistics"
        yield _draft(same, told, f"1 - {momentum:g} may be meant: set it before training on.")
    for batches, same in alike(still, lambda layer: layer.num_batches_tracked).items():
        told = f"momentum 0 left the running statistics as they were over {batches} batches"
        yield _draft(same, told, "1 - momentum may be meant; check where these statistics come from.")
    for eps, same in alike(wide, lambda layer: layer.eps).items():
        told = f"eps is {eps:g}, as large as a momentum"
        yield _draft(same, told, "Check the order of the arguments in the code: eps comes before momentum.")


def _draft(layers: list[NormLayer], told: str, remedy: str) -> FindingDraft:
    return FindingDraft(
        layers=tuple(layer.name for layer in layers),
        text=told,
        remedy=remedy,
        evidence={"layers": len(layers), "momentum": layers[0].momentum, "eps": layers[0].eps},
        confidence="medium",
    )
