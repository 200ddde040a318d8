"""What recalibration asks of a model: to be run, to be run with other statistics, to be written with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from normdiag.observe.protocol import ReplacedStatistics, Runner
from normdiag.records import ModelInfo, NormLayer


class Recalibratable(Protocol):
    """A model whose running statistics can be replaced. It is never changed, unless in place."""

    @property
    def info(self) -> ModelInfo:
        """Where it came from."""
        ...

    @property
    def runner(self) -> Runner:
        """The model as it is."""
        ...

    def obstacle(self, layer: NormLayer) -> str | None:
        """Why the statistics of a layer cannot be replaced; None where they can. Needs the model to have run."""
        ...

    def converts(self, layer: NormLayer, /) -> bool:
        """Whether the layer normalizes with the batch as deployed, and with what is stored once it is recalibrated."""
        ...

    def shared(self, layers: Sequence[NormLayer], /) -> list[tuple[str, ...]]:
        """Groups of layers that have one pair of statistics between them, being one layer that runs several times."""
        ...

    def changed(self, statistics: Mapping[str, ReplacedStatistics]) -> Runner:
        """A copy with these statistics by layer name, each rounded to the dtype that it is stored in.

        Raises InputError where one does not fit into that.
        """
        ...

    def write(self, statistics: Mapping[str, ReplacedStatistics], target: Path) -> tuple[str, ...]:
        """Write the model with these statistics, every other byte as it was; notes on other files that belong to it."""
        ...

    def result(self, statistics: Mapping[str, ReplacedStatistics]) -> Any:
        """What Python users get: a module or an onnx.ModelProto with these statistics."""
        ...
