"""All that normdiag uses of onnxscript's private names, so that a version without one of them says so in one line.

tests/folding/pytorch/test_onnxscript_private.py names the version that it was last seen in.
"""

from __future__ import annotations

import onnx_ir as ir

from normdiag.extras import gone


def constant_folding(limit: int) -> ir.passes.InPlacePass:
    """The pass that computes constants, in place, with their shapes; those of more elements than `limit` are left.

    Public is only `onnxscript.optimizer.optimize`, which fuses nodes as well. Raises InputError where it is gone.
    """
    try:
        from onnxscript.optimizer._constant_folding import FoldConstantsPass
    except ImportError as error:
        raise gone("onnxscript", "optimizer._constant_folding.FoldConstantsPass") from error
    folding: ir.passes.InPlacePass = FoldConstantsPass(
        shape_inference=True, input_size_limit=limit, output_size_limit=limit
    )
    return folding
