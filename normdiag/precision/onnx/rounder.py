"""Nodes that round to half precision, added to a copy of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from normdiag.observe.onnx.edit import FLOAT, GraphEdit
from normdiag.records.precision import Half

_FORMATS = {"fp16": 10, "bf16": 16}  # onnx.TensorProto.DataType
# What converters put in place of constants beyond the format, such as the -3.4e38 of an attention mask.
_LARGEST = {"fp16": 65504.0, "bf16": 3.3895e38}


class Rounder:
    """Rounds tensors of a graph that is being edited."""

    def __init__(self, edit: GraphEdit, target: Half) -> None:
        """`edit` is the copy."""
        self.edit, self._format, self._limit = edit, _FORMATS[target], _LARGEST[target]

    def rounded(self, name: str, output: str | None = None) -> str:
        """A float tensor rounded, under a new name or as `output`."""
        half = self.edit.cast(name, self._format)
        return self.edit.nodes("Cast", [half], output or self.edit.fresh("Cast"), {"to": FLOAT})

    def constant(self, values: Any) -> str:
        """A constant as a converter stores it: within the range of the format, and rounded."""
        return self.rounded(self.edit.constant(np.clip(values, -self._limit, self._limit), np.float32))

    def stored_sum(self, mean: str, source: str, reduced: str) -> str:
        """A mean of `source` made of a sum that was rounded: mean x count, which overflows where the sum does.

        `reduced` is a tensor of the shape of the mean.
        """
        edit = self.edit
        count = edit.node("Div", *(edit.cast(edit.node("Size", name), FLOAT) for name in (source, reduced)))
        total = self.rounded(edit.node("Mul", mean, count))
        return edit.node("Div", total, count)
