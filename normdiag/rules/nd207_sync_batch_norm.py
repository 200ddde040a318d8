"""ND207: SyncBatchNorm in a file that is to be deployed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from normdiag.rules.context import Context
from normdiag.rules.rule import FindingDraft, rule


@rule("ND207", "sync-batch-norm", "info")
def sync_batch_norm(context: Context, limits: Mapping[str, float]) -> Iterator[FindingDraft]:
    """A saved or exported model holds SyncBatchNorm layers, the BatchNorm of training on several devices.

    What it means: in eval mode such a layer is a plain BatchNorm, and its outputs are right, on one device and without
    a process group. What differs is training: only inside an initialized process group it shares its statistics, and
    elsewhere it falls back to those of its own batch without a word, so that fine-tuning on one device is not what
    the name promises. torch.jit.script cannot compile it. A traced or torch.export program keeps the name alone: the
    computation in it is a plain BatchNorm of one process.

    What keeps it silent: a live model, which may be in training; ONNX, which does not know the difference.

    How to fix it: build the model with BatchNorm before saving it for deployment, and load the same weights: names
    and shapes are equal. torch has no function for the way back from convert_sync_batchnorm.

    Source: torch.nn.SyncBatchNorm, forward (need_sync) and convert_sync_batchnorm.
    """
    if context.report.model.path is None:
        return
    names = [each.layer.name for each in context.report.layers if each.layer.class_name == "SyncBatchNorm"]
    if names:
        yield FindingDraft(
            layers=tuple(names),
            text="SyncBatchNorm, which outside of a process group is a plain BatchNorm",
            remedy="Build the model with BatchNorm and load the same weights before saving it for deployment.",
            evidence={"layers": len(names)},
        )
