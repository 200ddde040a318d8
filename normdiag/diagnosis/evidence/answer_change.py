"""What the data's own statistics would change in the answers, and whether that makes them better."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

from normdiag.records import Labelled, Report
from normdiag.rules.nd308_other_answers import gained, surely_changed, surely_right

# Healthy networks change up to 2 % of their answers by chance and by drift, and 5 % are few; how surely answers become
# less decided where the stored statistics are the better ones.
SOME_ANSWERS, WORSE = 0.05, 4.0
# How many standard errors more answers have to be right, how many answers have to change to expect that, and by how
# much each has to become more decided, in standard deviations over the classes, to be convincing.
SURELY_RIGHT, MANY_ANSWERS, CONVINCING = 3.0, 0.1, 0.5
# Wrong statistics push the answers into a few classes: with right ones, the classes answered are more by this factor.
MORE_CLASSES = 1.2
# Of as many as there are, the part of the classes that are answered where the features are made for the data.
ALL_CLASSES = 0.92


@dataclass(frozen=True, eq=False)
class AnswerChange:
    """Answers as deployed beside those with the data's own statistics, as a report has them."""

    report: Report

    @property
    def changed(self) -> float:
        """The share of answers that the data's own statistics surely change."""
        found = self.report.recalibration
        return 0.0 if found is None else surely_changed(found)

    @property
    def decided(self) -> float:
        """How much surer the answers are with the data's own statistics, in standard errors; 0 where not measured."""
        found = self.report.recalibration
        return 0.0 if found is None else gained(found.change)

    @property
    def gains(self) -> bool:
        """Whether the data's own statistics make the answers surer, or more of them right, as far as that is known."""
        found, regained = self.report.recalibration, self.regained
        if regained is not None and abs(regained) > SURELY_RIGHT:
            return regained > 0
        return found is None or found.change.decided is None or self.decided > 2.0

    @cached_property
    def labelled(self) -> Labelled | None:
        """What labels say, where answers surely agree with them by more than chance: else they may be other numbers."""
        found, gap = self.report.recalibration, self.report.gap
        labels = None if found is None else found.labelled
        if labels is None or gap is None or not gap.classes:
            return None
        chance = max(1.0 / gap.classes, 1.0 / max(labels.classes, 1.0))
        error = sqrt(chance * (1.0 - chance) / labels.samples)
        return labels if max(labels.accuracy) > chance + 4.0 * error or labels.classes < 1.01 else None

    @property
    def regained(self) -> float | None:
        """How surely more answers are right with the data's own statistics, in standard errors; None without labels."""
        return None if self.labelled is None else surely_right(self.labelled)

    @property
    def in_vain(self) -> bool:
        """Whether answers change and, by their labels, no more of them are right with the data's own statistics."""
        return self.regained is not None and self.changed > MANY_ANSWERS and self.regained < SURELY_RIGHT

    @property
    def given_back(self) -> bool:
        """Whether many answers change with the data's own statistics and surely become as decided as they should be.

        Not where they are of few classes all the same.
        """
        found = self.report.recalibration
        many = found is not None and found.change.decided is not None and self.changed > MANY_ANSWERS
        return many and self.decided > 2.0 * WORSE and not self.unconvincing and not self.one_sided

    @property
    def unconvincing(self) -> bool:
        """Whether many answers change with the data's own statistics and hardly become more decided by that.

        With right features each answer that is given back stands out as the others do. Where the data is not what the
        features were made for, answers change from one guess to another.
        """
        found = self.report.recalibration
        if found is None or found.change.decided is None or self.changed < SOME_ANSWERS:
            return False
        return self.in_vain or found.change.decided < CONVINCING * (found.change.answers_changed or 0.0)

    @property
    def one_sided(self) -> bool:
        """Whether the model still answers with few of its classes when it has the data's own statistics."""
        found, gap = self.report.recalibration, self.report.gap
        if found is None or found.answered is None or gap is None or not gap.classes:
            return False
        classes = gap.classes if self.labelled is None else self.labelled.classes
        return found.answered < ALL_CLASSES / (1.0 / classes + 1.0 / found.samples)

    @property
    def harmless(self) -> bool:
        """Whether the stored statistics serve this data as well as its own do: no answer changes, or for the worse.

        Labels settle it, where there are any. Or, in a model of classes, answers with clearly more of them than there
        would be with the data's own, or with as many and as sure ones.
        """
        found, regained = self.report.recalibration, self.regained
        if found is None:
            return False
        if regained is not None and abs(regained) > SURELY_RIGHT:
            return regained < 0
        if self.changed < SOME_ANSWERS or self.decided < -WORSE:
            return True
        before, after = self.answered
        if before is None or after is None:
            return False
        unsure = found.change.decided is not None and self.decided < 2.0
        return MORE_CLASSES * after < before or (unsure and after <= MORE_CLASSES * before)

    @property
    def answered(self) -> tuple[float | None, float | None]:
        """With how many classes the model answers, in effect: as deployed, and with the data's own statistics."""
        found, gap = self.report.recalibration, self.report.gap
        return None if gap is None else gap.answered, None if found is None else found.answered
