"""What a comparison on data asks of a backend: any tensor of a model by name, also with others in place of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from normdiag.records import Batch, InputSpec, OpGraph
from normdiag.records.model import Array

Values = Mapping[str, Array]


class TracedModel(Protocol):
    """A model that runs as its file says, without any runtime optimization."""

    @property
    def graph(self) -> OpGraph:
        """Its computation; tensors have the names of this graph."""
        ...

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """What must be fed, with None for free sizes."""
        ...

    @property
    def present(self) -> frozenset[str]:
        """The tensors that can be asked for: some of the graph lie between the steps of one node."""
        ...

    def run(self, batch: Batch, wanted: Sequence[str], replaced: Values | None = None) -> Values:
        """The floating-point ones of the `wanted` tensors, with those in `replaced` in place of what is computed.

        Raises InputError where the model cannot run on this batch.
        """
        ...
