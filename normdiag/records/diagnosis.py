"""What happened to a model, and what to do about it: the causes that explain the findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal[
    "recalibrate",
    "fix_input",
    "reload_weights",
    "reexport",
    "retrain",
    "check_training_data",
    "use_more_data",
    "none",
]


@dataclass(frozen=True)
class Remedy:
    """What to do. `command` is complete where normdiag can do it, `option` the `--preprocess` of a better input."""

    action: Action
    text: str
    command: str | None = None
    option: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """One cause. `layers` are those at fault, the one to look at first in front; none where no layer is.

    `summary` is a sentence for people who do not know the theory, `evidence` one line of figures. `alternatives` are
    causes that look the same on this data, `test` is the experiment that would tell. `explains` are the findings that
    follow from it, by rule and layers.
    """

    cause: str
    layers: tuple[str, ...]
    confidence: Literal["high", "medium", "low"]
    severity: Literal["error", "warning", "info"]
    summary: str
    evidence: str
    remedy: Remedy
    alternatives: tuple[str, ...] = ()
    test: str = ""
    explains: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def covers(self, rule: str, layers: tuple[str, ...]) -> bool:
        """Whether a finding of this rule on these layers follows from it."""
        return any(rule == own and set(layers) <= set(names) for own, names in self.explains)
