"""Which rules run, and with which limits."""

from __future__ import annotations

import math

import pytest

from normdiag.errors import UsageError
from normdiag.rules import RULES, Context, with_findings
from normdiag.rules.choose import choose, find, with_limits
from tests.rules.test_rules import bn, report

IDS = [rule.id for rule in RULES]


def ids(select: str, ignore: str = "") -> list[str]:
    return [rule.id for rule in choose(select.split(), ignore.split(), RULES)]


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        ("ND", "", IDS),
        ("nd1", "", [each for each in IDS if each.startswith("ND1")]),
        ("ND101 ND3", "", ["ND101", *(each for each in IDS if each.startswith("ND3"))]),
        ("ND", "ND1", [each for each in IDS if not each.startswith("ND1")]),
        ("ND103", "ND1", ["ND103"]),
        ("ND1 ND", "ND103", [each for each in IDS if each != "ND103"]),
        ("ND103", "ND103", []),
        ("drift", "ND", ["ND301"]),
        ("ND", "drift", [each for each in IDS if each != "ND301"]),
        ("", "", []),
    ],
)
def test_the_longer_prefix_decides(select: str, ignore: str, expected: list[str]) -> None:
    assert ids(select, ignore) == expected


def test_a_word_that_fits_no_rule() -> None:
    for select, ignore in (("ND9", ""), ("ND", "ND9"), ("", "1")):
        with pytest.raises(UsageError, match="no rule is called"):
            ids(select, ignore)
    with pytest.raises(UsageError, match="did you mean 'saturated'"):
        ids("saturatd")


def test_find() -> None:
    assert find("nd301", RULES).id == find("Drift", RULES).id == "ND301"
    with pytest.raises(UsageError, match=r"no rule ND301x; did you mean 'ND301'\?$"):
        find("ND301x", RULES)
    with pytest.raises(UsageError, match=r"no rule ND999; `normdiag rule` lists them$"):
        find("ND999", RULES)


def test_limits_are_replaced_and_the_rule_stays_as_it_is() -> None:
    rule = find("ND103", RULES)
    assert with_limits(rule, {"dead_ratio": 0.5}).limits == {"dead_ratio": 0.5, "half": 0.5}
    assert rule.limits == {"dead_ratio": 0.01, "half": 0.5}
    dim = report(bn(running_var=[1e-6, 1e-6, 1.0, 1.0]))
    assert with_findings(dim, (rule,)).findings[0].severity == "info"
    assert with_findings(dim, (with_limits(rule, {"dead_ratio": 0.5}),)).findings[0].severity == "warning"


@pytest.mark.parametrize("value", [True, "0.5", math.nan, None, [1]])
def test_limits_are_numbers(value: object) -> None:
    with pytest.raises(UsageError, match="dead_ratio must be a number"):
        with_limits(find("ND103", RULES), {"dead_ratio": value})  # type: ignore[dict-item]


def test_unknown_limits() -> None:
    with pytest.raises(UsageError, match="ND103 has no limit 'dead_rato'; did you mean 'dead_ratio'"):
        with_limits(find("ND103", RULES), {"dead_rato": 0.5})


def test_which_rules_need_data() -> None:
    assert [rule.id for rule in RULES if rule.needs_data] == [each for each in IDS if each[2] in "34"]
    static = Context(report(bn(), data=None))
    assert not any(rule.findings(static) for rule in RULES if rule.needs_data)
