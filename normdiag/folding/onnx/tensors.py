"""The new weights of a folded layer as initializers: computed when they are written, one layer at a time."""

from __future__ import annotations

from normdiag.folding.affine import scales, shifts
from normdiag.folding.floats import as_dtype
from normdiag.folding.weights import changes_weight, new_bias, new_parameters, scaled_blocks
from normdiag.records import LayerEdit, Op
from normdiag.records.ops import Conv, Linear, Norm
from normdiag.writing.onnx.new_tensor import NewTensor, constant, described


def new_tensors(op: Op, edit: LayerEdit) -> tuple[NewTensor | None, NewTensor | None]:
    """Weight and bias of an edited layer, without names yet; None for what stays as it is.

    What stays may be quantized or shared. Weights of layers are not computed before they are read.
    """
    needs_weight, needs_bias = _needs(op, edit)
    detail = op.detail
    if isinstance(detail, Conv | Linear):
        stored = detail.weight
        weight = described(as_dtype(stored.dtype), stored.shape, lambda: scaled_blocks(detail, edit))
        bias = new_bias(detail, edit) if needs_bias else None
        return weight if needs_weight else None, None if bias is None else constant(bias)
    found = new_parameters(op, edit)
    return (
        constant(found.weight) if needs_weight else None,
        constant(found.bias) if needs_bias and found.bias is not None else None,
    )


def _needs(op: Op, edit: LayerEdit) -> tuple[bool, bool]:
    """Whether the weight and the bias get other values."""
    sides = [side for side in (edit.inner, edit.outer, edit.added) if side is not None]
    rescaled, shifted = changes_weight(edit), any(shifts(side) for side in sides)
    match op.detail:
        case Conv() | Linear():
            return rescaled, shifted or (edit.outer is not None and scales(edit.outer))
        case Norm():
            return rescaled, shifted or rescaled
    return True, True
