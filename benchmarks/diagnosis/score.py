"""What a diagnosis is worth: is the fault found, the right layer first, the cause right, does the remedy restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.diagnosis.examine import Seen

COSTS = 2.0
WITHIN = 2.0
MOST_ALTERNATIVES = 2


@dataclass(frozen=True)
class Answer:
    """The first entry of a diagnosis. `option` is the `--preprocess` that it names."""

    cause: str
    layers: tuple[str, ...]
    alternatives: tuple[str, ...]
    action: str
    option: str | None = None


@dataclass(frozen=True, eq=False)
class Score:
    """One case judged. `first` is None where no layer is at fault; `restored` is the accuracy after the remedy."""

    seen: Seen
    answer: Answer | None
    found: bool
    first: bool | None
    cause: bool
    restored: float
    remedy: bool


def score(
    seen: Seen, answer: Answer | None, found: bool, with_option: Callable[[str], float], reach: float = 100.0
) -> Score:
    """Judge the first entry; nothing is right where nothing was found.

    `reach` is the accuracy of the healthy model recalibrated on as much data: no recalibration gives back more. It
    matters for a network that is run on images it has learned by heart.
    """
    if answer is None or not found:
        return Score(seen, answer, found, False if seen.layers else None, False, seen.after, False)
    named = (answer.cause, *answer.alternatives[:MOST_ALTERNATIVES])
    first = None if not seen.layers else bool(answer.layers) and answer.layers[0] in seen.layers
    restored = after_remedy(seen, answer, with_option)
    return Score(
        seen,
        answer,
        found,
        first,
        any(cause in seen.causes for cause in named),
        restored,
        is_right(seen, answer, restored, reach),
    )


def after_remedy(seen: Seen, answer: Answer, with_option: Callable[[str], float]) -> float:
    """The accuracy once the remedy is carried out. Layers that are not named are not reloaded."""
    if answer.action == "fix_input":
        return with_option(answer.option) if answer.option else seen.after
    if answer.action == "reload_weights" and seen.place != "all" and not set(answer.layers) & seen.layers:
        return seen.after
    return seen.remedies.get(answer.action, seen.after)


def is_right(seen: Seen, answer: Answer, restored: float, reach: float) -> bool:
    """Whether the remedy restores, or is 'none' where none would."""
    if answer.action == "recalibrate":
        return restored >= min(seen.before, reach) - WITHIN
    if answer.action != "none":
        return restored >= seen.before - WITHIN
    return not seen.pipeline and all(value < seen.before - WITHIN for value in seen.remedies.values())


def share(values: Sequence[bool]) -> str:
    """'12 of 15 (80 %)'."""
    return f"{sum(values)} of {len(values)} ({100 * sum(values) / max(len(values), 1):.0f} %)"
