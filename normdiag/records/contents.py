"""What a model holds, layer by layer, in one form for every kind of file, and which layers of two models are paired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from normdiag.records.model import NormLayer
from normdiag.records.ops import Parameter

LayerKind = Literal["conv", "conv_transpose", "linear", "norm", "weights"]
MatchedBy = Literal["name", "end of name", "values", "order"]


@dataclass(frozen=True, eq=False)
class LayerContents:
    """The stored tensors of one layer, by PyTorch's roles (weight, bias, running_mean, ...), and what it is.

    Weights have PyTorch's order of axes: (out, in, ...). `kind` is 'weights' where the file does not say what reads
    them. `aliases` are further names that it may go by. `norm` is set for a normalization layer. `unnamed`: its name is
    a number that the exporter gave, and perhaps it is a constant and no layer.
    """

    name: str
    kind: LayerKind
    tensors: Mapping[str, Parameter]
    norm: NormLayer | None = None
    aliases: tuple[str, ...] = ()
    unnamed: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that it goes by."""
        return (self.name, *self.aliases)

    @property
    def main(self) -> Parameter | None:
        """The tensor that it is known by: its weight, else the first there is."""
        return self.tensors.get("weight") or next(iter(self.tensors.values()), None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its main tensor; (channels,) of a norm without parameters, () where nothing is known."""
        if self.main is not None:
            return self.main.shape
        return () if self.norm is None or self.norm.channels is None else (self.norm.channels,)


@dataclass(frozen=True)
class IndexPair:
    """Position `a` in one sequence and `b` in the other, and by what they were matched."""

    a: int
    b: int
    by: MatchedBy


@dataclass(frozen=True)
class Pairing:
    """Pairs in the order of the first sequence, and the positions that are in none."""

    pairs: tuple[IndexPair, ...]
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]
