"""Layers that are no longer in the file: what can be said of them, and how to see them."""

from __future__ import annotations

from normdiag.records import FoldedNorm, Report
from normdiag.wording import abridged

GONE = "so that nothing stored is left to compare the data with"
CHECKPOINT = "or give the checkpoint with --reference"
UNTOLD = (
    "no normalization layer was found: the model was built without, or they were folded before the file was written, "
    "which the file cannot tell"
)
# How to export with the layers in place. Both torch exporters were tried with torch 2.13.
AGAIN = {
    "torch.onnx (dynamo)": f"export again with model.eval() and torch.onnx.export(..., optimize=False), {CHECKPOINT}",
    "torch.onnx": "export again with model.eval() and torch.onnx.export(..., dynamo=False, do_constant_folding=False), "
    + CHECKPOINT,
}
BEFORE = "inspect the model as it was before it was converted"
EITHER = (
    "if it was trained with BatchNorm, export again with model.eval() and optimize=False (with dynamo=False: "
    f"do_constant_folding=False), {CHECKPOINT}"
)


def folded_away(report: Report) -> tuple[str, str | None]:
    """Why layers are missing from the file, and how to get them back."""
    if not report.folded:
        return UNTOLD, EITHER if report.model.backend == "onnx" else None
    return f"{_told(report.folded)}, {GONE}", AGAIN.get(report.folded[0].tool, BEFORE)


def _told(folded: tuple[FoldedNorm, ...]) -> str:
    """What the file shows, no more surely than it does."""
    layers = f"{len(folded)} BatchNorm layer{'s' if len(folded) > 1 else ''}"
    if all(each.certain for each in folded):
        names = abridged([each.name or f"after {each.layer}" for each in folded])
        return f"the exporter folded {layers} into the layers before them ({names})"
    names = abridged([each.layer for each in folded])
    return f"the names of the weights say that {layers} were folded into the layers before them ({names})"
