"""What a narrow target adds to an inspection, and what happens where it cannot."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import pytest

import normdiag
from normdiag.commands import narrow
from tests.precision.transformer import Stubborn, Transformer, inputs


def test_ctrl_c_while_the_plan_is_made_leaves_the_report_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(narrow, "make_plan", interrupted)
    report = normdiag.inspect(Transformer(), inputs(), target="fp16")
    assert report.interrupted and report.half is None
    assert report.layers[0].groups is not None and report.outliers
    assert any("no precision plan for fp16: the run was stopped" in note for note in report.notes)


def test_a_model_that_cannot_run_in_half_keeps_its_report_and_says_why() -> None:
    x = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    half = normdiag.inspect(Stubborn(), x, target="fp16").half
    assert half is not None and half.plan is None and "the model failed" in (half.why_no_plan or "")
    assert [each.layer for each in half.norms] == ["norm"] and half.norms[0].errors["float32"] < 1e-3
