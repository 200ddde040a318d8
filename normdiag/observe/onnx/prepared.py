"""An ONNX model as it is run: its graph without large weights, and what goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from normdiag.observe.onnx.feed import GraphInput, make_feed
from normdiag.observe.onnx.plan import Plan
from normdiag.observe.onnx.session import Array, Setting
from normdiag.records import Batch, Feeding


@dataclass(frozen=True, eq=False)
class PreparedGraph:
    """`proto` is an onnx.ModelProto, with its batch axis free where that could be; `plan` has its norms."""

    proto: Any
    setting: Setting
    inputs: tuple[GraphInput, ...]
    feeding: Feeding
    plan: Plan

    def feed(self, batch: Batch) -> dict[str, Array]:
        """What the graph is fed for a batch. Raises InputError where the batch does not fit."""
        return make_feed(self.inputs, batch, self.setting.where, self.feeding)
