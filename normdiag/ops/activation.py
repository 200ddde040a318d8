"""A function as a model names it: its kind and its numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Numbers(Protocol):
    """The numbers of a function as a model gives them; each file says which of them it has."""

    @property
    def alpha(self) -> float:
        """A slope or a factor."""

    @property
    def beta(self) -> float:
        """A second one."""

    @property
    def low(self) -> float:
        """The lower bound of what clips."""

    @property
    def high(self) -> float:
        """The upper bound."""


@dataclass(frozen=True)
class Activation:
    """A function by its kind, with its numbers (`Numbers`)."""

    kind: str
    alpha: float = 1.0
    beta: float = 0.0
    low: float = -math.inf
    high: float = math.inf
