"""onnxscript's private names: here in the version that this was last seen to pass with, 0.7.2 (and in 0.5.0)."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import onnxscript
import pytest

from normdiag.errors import InputError
from normdiag.folding.pytorch.onnxscript_private import constant_folding


def summed(size: int) -> ir.Model:
    text = f"""<ir_version: 10, opset_import: ["" : 18]>
    net (float[{size}] x) => (float[{size}] y) {{
        one = Constant <value = float[1] {{1.0}}> ()
        size = Constant <value = int64[1] {{{size}}}> ()
        ones = Expand (one, size)
        y = Add (x, ones)
    }}"""
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


@pytest.mark.parametrize(("size", "left"), [(3, ["Add"]), (9, ["Expand", "Add"])])
def test_constants_are_computed_up_to_the_limit_and_nothing_is_fused(size: int, left: list[str]) -> None:
    model = summed(size)
    constant_folding(4)(model)
    assert [node.op_type for node in model.graph if node.op_type != "Constant"] == left


def test_what_is_gone_is_named_with_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("onnxscript.optimizer._constant_folding.FoldConstantsPass")
    with pytest.raises(InputError, match=rf"^onnxscript {onnxscript.__version__} no longer has optimizer\._const"):
        constant_folding(4)
