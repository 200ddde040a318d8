"""What a report rests on: what was measured, what was not and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["problem", "not_measured", "ok"]
# What can be measured. `parameters`: what the file stores; `drift`: against what is stored, and with it whether the
# input is prepared as in training; `groups`: what layers without stored statistics normalize with.
Topic = Literal["parameters", "drift", "groups", "gap", "activations"]


@dataclass(frozen=True)
class Unmeasured:
    """A topic that the report says nothing of, or not for every layer; `why`, and what would measure it.

    `remedy` is None where nothing would, or where `why` names it.
    """

    topic: Topic
    why: str
    remedy: str | None = None


@dataclass(frozen=True)
class Coverage:
    """What was measured and what was not. `judged`: rules looked at what a normalization layer did on real data."""

    measured: tuple[Topic, ...] = ()
    missing: tuple[Unmeasured, ...] = ()
    judged: bool = False
