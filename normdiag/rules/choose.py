"""Which rules run, and with which limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from normdiag.errors import UsageError
from normdiag.rules.rule import Rule
from normdiag.wording import nearest


def find(word: str, rules: Sequence[Rule]) -> Rule:
    """The rule of this id or name, in any case. Raises UsageError where there is none, with the nearest one."""
    for rule in rules:
        if word.upper() == rule.id or word.lower() == rule.name:
            return rule
    raise UsageError(f"there is no rule {word}{_nearest(word, rules)}")


def choose(select: Sequence[str], ignore: Sequence[str], rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules selected by id, name or prefix of an id, less the ignored ones.

    The longest prefix that fits a rule decides, and of equal ones the ignored: select ND1 and ignore ND103 leaves
    ND103 out, select ND103 and ignore ND1 lets only it run. Raises UsageError for a word that fits no rule.
    """
    for word in (*select, *ignore):
        matching(word, rules)
    return tuple(rule for rule in rules if _weight(rule, select) > _weight(rule, ignore))


def matching(word: str, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules that a word stands for. Raises UsageError where there is none, with the nearest one."""
    found = tuple(rule for rule in rules if _fit(rule, word))
    if not found:
        raise UsageError(f"no rule is called {word!r} or begins with it{_nearest(word, rules)}")
    return found


def with_limits(rule: Rule, limits: Mapping[str, float]) -> Rule:
    """The rule with some limits replaced. Raises UsageError for a limit that it has not, or that is no number."""
    for name, value in limits.items():
        if name not in rule.limits:
            known = ", ".join(rule.limits) or "none"
            raise UsageError(f"{rule.id} has no limit {name!r}{nearest(name, rule.limits)} (its limits: {known})")
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise UsageError(f"{rule.id}: the limit {name} must be a number, not {value!r}")
    return replace(rule, limits={**rule.limits, **limits})


def _fit(rule: Rule, word: str) -> int:
    """How much of a rule's id the word fixes; 0 where it does not fit."""
    if word.lower() == rule.name:
        return len(rule.id)
    return len(word) if word and rule.id.startswith(word.upper()) else 0


def _weight(rule: Rule, words: Sequence[str]) -> int:
    return max((_fit(rule, word) for word in words), default=0)


def _nearest(word: str, rules: Sequence[Rule]) -> str:
    """What a misspelt word probably meant: of ids, only one of the same series; else where to look."""
    if re.fullmatch(r"nd[0-9]*", word, re.IGNORECASE | re.ASCII):
        near = nearest(word.upper(), [rule.id for rule in rules if rule.id[:3] == word[:3].upper()])
    else:
        near = nearest(word.upper(), [rule.id for rule in rules]) or nearest(
            word.lower(), [rule.name for rule in rules]
        )
    return near or "; `normdiag rule` lists them"
