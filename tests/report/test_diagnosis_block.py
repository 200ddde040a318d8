"""The first block of the text: the verdict in a sentence, the evidence, the command, and what is folded under it."""

from __future__ import annotations

from tests.diagnosis.networks import changed, network, report
from tests.diagnosis.test_causes import exchanged, moved
from tests.report.texts import inspect_text


def test_the_cause_comes_first_with_its_evidence_and_the_command() -> None:
    found = report(changed(network(), moved))
    lines = [line.strip() for line in inspect_text(found, width=120, color=False).split("Summary")[1].splitlines()[1:9]]
    assert lines[0].startswith("✗ Problem: the running statistics do not belong to the weights any more")
    assert lines[1].endswith("stale_statistics, medium confidence")
    assert lines[2].startswith("6 of 6 layers drift by themselves")
    assert "→ normdiag recalibrate m.pt --data train/ --preprocess raw -o fixed.pt" in lines
    assert any(line.startswith("explains ") and line.endswith("(--all)") for line in lines)


def test_what_follows_from_a_cause_is_shown_with_all_alone() -> None:
    found = report(changed(network(), moved))
    assert "ND301" not in inspect_text(found, width=120, color=False)
    assert "ND301" in inspect_text(found, width=120, color=False, all_layers=True)


def test_evidence_that_begins_with_the_name_of_a_layer_keeps_it() -> None:
    found = report(changed(network(), exchanged, 5), answers=0.0)
    assert "\n    bn5: " in inspect_text(found, width=120, color=False)
