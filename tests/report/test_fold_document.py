"""What people read of a fold. NORMDIAG_UPDATE_GOLDENS=1 writes the files anew."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from normdiag.records import FoldPlan, FoldStep, Refusal
from tests.report.fold_reports import REPORTS, clean, mixed
from tests.report.texts import fold_text

GOLDENS = Path(__file__).parent / "goldens"


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("name", REPORTS)
def test_report(name: str, width: int) -> None:
    text = fold_text(REPORTS[name](), width=width)
    path = GOLDENS / f"{name}_{width}.txt"
    if os.environ.get("NORMDIAG_UPDATE_GOLDENS"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("name", REPORTS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(map(len, fold_text(REPORTS[name](), width=width).splitlines())) <= width


def test_nothing_from_the_file_controls_the_terminal() -> None:
    assert "\x1b" not in fold_text(mixed(), width=80)
    assert fold_text(mixed(), width=80, ascii_only=True).isascii()


def test_long_plans_are_cut_and_said_so() -> None:
    steps = tuple(FoldStep(f"bn{i}", "batch_norm", "before", (f"conv{i}",)) for i in range(60))
    report = replace(clean(), plan=replace(clean().plan, steps=steps, norms=60))
    assert "more folds" in fold_text(report, width=80)
    assert "more folds" not in fold_text(report, width=80, all_layers=True)


def test_the_outcome_comes_first_and_what_only_quantizers_mind_last() -> None:
    text = fold_text(mixed(), width=80)
    assert (
        text.index("norms folded") < text.index("Weight ranges") < text.index("If it is to be quantized\n  ! warning")
    )


def test_layer_norms_are_counted_as_what_they_are() -> None:
    steps = tuple(FoldStep(f"n{i}", "rms_norm", "after", ("fc",), whole=False) for i in range(3))
    report = replace(clean(), plan=FoldPlan(steps, (Refusal("q", "rms_norm", "why"),), norms=4))
    assert "3 of 4 RMS norms folded, 1 not folded." in fold_text(report, width=140)
    nothing = replace(clean(), plan=FoldPlan(not_asked={"rms_norm": 5}))
    assert "No BatchNorm to fold was found. 5 RMS norms: --norms layer folds gamma and beta." in fold_text(
        nothing, width=140
    )


def test_scales_without_a_norm_are_not_counted_among_norms() -> None:
    """As the layer scales of ConvNeXt."""
    steps = tuple(FoldStep(f"s{i}", "scale_shift", "after", ("fc",)) for i in range(2))
    plan = FoldPlan(steps, not_asked={"layer_norm": 3})
    text = fold_text(replace(clean(), plan=plan), width=140)
    assert "2 plain scales or shifts folded; there is no BatchNorm. 3 layer norms: --norms layer" in text
    assert "0 of 0" not in text
