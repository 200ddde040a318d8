"""What a cause is: a name, an action, a docstring that is its page, and a pure function from the evidence to a case."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from normdiag.diagnosis.evidence.seen import Seen
from normdiag.diagnosis.evidence.training import Fault
from normdiag.records import Action, Severity

Confidence = Literal["high", "medium", "low"]


@dataclass(frozen=True)
class Case:
    """What speaks for a cause.

    `weight` (0 to 1) is how well it explains what was seen, against the other causes. `layers` are those at fault, the
    first one in front. `summary` is the sentence for people who do not know the theory, `evidence` the figures in one
    line. `explains` are the rules whose findings follow from it; where `everywhere`, in any layer, else in `layers`.
    `alternatives` are the causes that this evidence cannot tell from it, `test` the experiment that would.
    `severity` None leaves it to what the fault changes, `at_most` limits what it may be then. `action` and `remedy`
    stand in for the cause's own.
    """

    layers: tuple[str, ...]
    weight: float
    summary: str
    evidence: str
    explains: tuple[str, ...]
    everywhere: bool = True
    confidence: Confidence = "high"
    alternatives: tuple[str, ...] = ()
    test: str = ""
    severity: Severity | None = None
    at_most: Severity = "error"
    action: Action | None = None
    remedy: str = ""
    option: str | None = None


Test = Callable[[Seen], Case | None]


@dataclass(frozen=True)
class Cause:
    """A cause. `rivals`: it explains the same evidence as others of the same word, so that only the best is named.

    `fault` is where it lies, in the stored statistics (or the weights that they belong to) or in the data, so that data
    of the training can rule it out; None where that says nothing.
    """

    name: str
    action: Action
    rivals: str
    test: Test
    fault: Fault | None = None

    def __repr__(self) -> str:
        """Without the documentation."""
        return f"<cause {self.name}>"

    @property
    def doc(self) -> str:
        """The documentation in plain text."""
        return inspect.getdoc(self.test) or ""

    @property
    def headline(self) -> str:
        """The first sentence of the documentation."""
        return " ".join(self.doc.partition("\n\n")[0].split())


def cause(name: str, *, action: Action, rivals: str = "", fault: Fault | None = None) -> Callable[[Test], Cause]:
    """Turn a function from the evidence to a case into a Cause, with its docstring as the documentation."""

    def decorate(test: Test) -> Cause:
        return Cause(name, action, rivals or name, test, fault)

    return decorate


# What wrong statistics, a wrong input and wrong weights all lead to, in the rules' words.
ON_DATA = ("ND301", "ND302", "ND303", "ND305", "ND306", "ND308", "ND309", "ND401", "ND402", "ND403")
