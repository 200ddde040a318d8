"""What a precision plan asks of a backend: the model in half precision, but for some of its norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from normdiag.records import Batch
from normdiag.records.model import Array

Outputs = Mapping[str, Array]


class MixedModel(Protocol):
    """A model in float32 that can also be run in half precision."""

    @property
    def where(self) -> str:
        """What runs it, for the report."""
        ...

    @property
    def norms(self) -> tuple[str, ...]:
        """The norms that can be kept in float32, in the order of the network."""
        ...

    def nodes(self, norm: str, /) -> tuple[str, ...]:
        """The names of the ONNX nodes that a norm is made of; none for PyTorch."""
        ...

    def exact(self, batch: Batch) -> Outputs:
        """The outputs in float32."""
        ...

    def run(self, batch: Batch, kept: frozenset[str], *, stored_sums: bool) -> Outputs:
        """The outputs in half precision, with the `kept` norms in float32 between two casts.

        `stored_sums`: the other norms store squares, sums and means in the format, whatever their kernel does. Raises
        InputError where the model cannot run so.
        """
        ...

    def first_lost(self, batch: Batch) -> str | None:
        """The first operator or module whose output is not finite, with every norm in float32; None where all are."""
        ...
