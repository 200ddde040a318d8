"""Results show themselves: a line, the text of the command, JSON, data frames."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import normdiag
from normdiag.errors import InputError, UsageError
from normdiag.records import Report
from normdiag.render.html import render_html
from normdiag.render.json import dump_json
from normdiag.report.abridge import Detail
from normdiag.report.headline import headline
from normdiag.report.inspect import inspect_document
from normdiag.results import tables
from normdiag.results.inspection import Inspection
from normdiag.results.profiled import ProfileResult
from normdiag.results.shown import result_of
from tests.profiles.profiles import profile
from tests.report import reports
from tests.report.texts import inspect_text

SORTS = (reports.healthy, reports.faulty, reports.static_only, reports.transformer, reports.hostile)


@pytest.fixture
def faulty() -> Inspection:
    return result_of(Inspection, reports.faulty())


@pytest.mark.parametrize("make", SORTS)
def test_a_result_is_its_report(make: Callable[[], Report]) -> None:
    report = make()
    result = result_of(Inspection, report)
    assert result.layers is report.layers and result.verdict == report.verdict
    assert result.to_json() == dump_json(report)
    assert isinstance(replace(result, findings=()), Inspection)


@pytest.mark.parametrize("make", SORTS)
def test_a_line_says_verdict_and_figures(make: Callable[[], Report]) -> None:
    report = make()
    line = repr(result_of(Inspection, report))
    assert "\n" not in line and len(line) < 500
    assert report.verdict.replace("_", " ") in line
    for each in report.diagnosis[:1]:
        assert each.cause in line


def test_the_line_has_the_worst_drift_the_gap_and_dead_units(faulty: Inspection) -> None:
    worst = max((each for each in faulty.layers if each.drift), key=lambda each: each.drift.corrected)  # type: ignore[union-attr]
    line = headline(faulty)
    assert f"at {worst.layer.name}" in line and "units dead" in line and "gap " in line


def test_names_from_a_file_stay_text() -> None:
    assert repr(result_of(Inspection, reports.hostile())).isprintable()


def test_show_prints_what_the_command_prints(
    faulty: Inspection, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    faulty.show()
    assert capsys.readouterr().out == inspect_text(faulty, width=90)
    faulty.show(all_layers=True, color=True)
    assert "\x1b[" in capsys.readouterr().out


def test_json_goes_into_a_file(faulty: Inspection, tmp_path: Path) -> None:
    path = faulty.to_json(tmp_path / "report.json")
    assert json.loads(path.read_text()) == faulty.to_dict() == json.loads(faulty.to_json())
    with pytest.raises(InputError, match="does not exist"):
        faulty.to_json(tmp_path / "nowhere" / "report.json")


def test_html_is_that_of_the_command(faulty: Inspection, tmp_path: Path) -> None:
    path = faulty.to_html(tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == faulty.to_html()
    assert faulty.to_html() == render_html(inspect_document(faulty, Detail(figures=True)))


def test_a_notebook_shows_the_first_screen_alone(faulty: Inspection) -> None:
    shown = faulty._repr_html_()
    assert faulty.findings[0].rule in shown and "<details" in shown
    assert len(shown) < 60_000 and "<script" not in shown and "<html" not in shown


def test_hostile_names_stay_text_in_a_notebook() -> None:
    shown = result_of(Inspection, reports.hostile())._repr_html_()
    assert "<script" not in shown and "<img" not in shown


def test_a_layer_by_name(faulty: Inspection) -> None:
    first = faulty.layers[0]
    assert faulty.layer(first.layer.name) is first
    with pytest.raises(UsageError, match="nearest"):
        faulty.layer(first.layer.name + "x")


def test_records_are_short_in_a_line(faulty: Inspection) -> None:
    """The last line of a cell prints no arrays."""
    for each in faulty.layers:
        assert "array(" not in repr(each) and len(repr(each)) < 2000
    assert repr(next(each.drift for each in faulty.layers if each.drift)).startswith("<Drift: ")


def test_rows_of_layers_are_in_network_order(faulty: Inspection) -> None:
    table = tables.rows(faulty, "layers")
    assert [row["layer"] for row in table] == [each.layer.name for each in faulty.layers]
    first = next(each for each in faulty.layers if each.drift)
    row = next(row for row in table if row["layer"] == first.layer.name)
    assert first.drift is not None
    assert (row["drift"], row["drift_se"]) == (first.drift.corrected, first.drift.se)
    assert len({tuple(row) for row in table}) == 1


def test_rows_of_the_other_tables(faulty: Inspection) -> None:
    assert [row["rule"] for row in tables.rows(faulty, "findings")] == [each.rule for each in faulty.findings]
    assert [row["dead_units"] for row in tables.rows(faulty, "activations")] == [
        each.dead_units for each in faulty.activations
    ]
    drift = next(each.drift for each in faulty.layers if each.drift)
    name = next(each.layer.name for each in faulty.layers if each.drift)
    channels = tables.rows(faulty, "layers", name)
    assert [row["d"] for row in channels] == sorted(drift.d, reverse=True)
    assert sorted(row["channel"] for row in channels) == list(range(len(drift.d)))
    with pytest.raises(UsageError, match="give layers"):
        tables.rows(faulty, "nothing")  # type: ignore[arg-type]


class FakeFrames(SimpleNamespace):
    """A library of data frames as far as it is used."""

    def __init__(self, name: str) -> None:
        super().__init__(DataFrame=lambda rows: (name, rows), __spec__=object())


@pytest.mark.parametrize(
    ("installed", "imported", "asked", "taken"),
    [
        (("pandas", "polars"), (), None, "pandas"),
        (("pandas", "polars"), ("polars",), None, "polars"),
        (("polars",), (), None, "polars"),
        (("pandas", "polars"), ("pandas",), "polars", "polars"),
    ],
)
def test_the_library_at_hand(
    installed: tuple[str, ...],
    imported: tuple[str, ...],
    asked: tables.Library | None,
    taken: str,
    faulty: Inspection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("pandas", "polars"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in imported:
        monkeypatch.setitem(sys.modules, name, FakeFrames(name))
    monkeypatch.setattr(tables, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr(tables, "import_module", FakeFrames)
    name, rows = faulty.to_dataframe(library=asked)
    assert name == taken and len(rows) == len(faulty.layers)


def test_without_a_library_it_says_so(faulty: Inspection, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "polars"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install pandas"):
        faulty.to_dataframe()
    with pytest.raises(UsageError, match="needs polars"):
        faulty.to_dataframe(library="polars")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_real_data_frame(library: tables.Library, faulty: Inspection) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed: the library at hand is tested with a stand-in")
    frame = faulty.to_dataframe(library=library)
    expected = [each.drift.corrected if each.drift else np.nan for each in faulty.layers]
    np.testing.assert_allclose(np.asarray(frame["drift"], np.float64), expected)


def test_other_results_say_themselves(samples: Path) -> None:
    model, data = str(samples / "digits_cnn.onnx"), [str(samples / "digits.npz")]
    gate = normdiag.check([model])
    assert repr(gate).startswith("<CheckResult: Passed") and json.loads(gate.to_json())["passed"]
    ranked = normdiag.preprocess(model, data=data)
    assert "--preprocess unit" in repr(ranked) and json.loads(ranked.to_json())["best"] == "unit"
    right = normdiag.recalibrate(model, data=data)
    assert "Nothing to recalibrate" in repr(right) and json.loads(right.to_json())["outcome"] == "already_right"


def test_a_profile_shows_itself_and_goes_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = result_of(ProfileResult, profile())
    assert repr(result) == "<ProfileResult: 4 points on 64 samples of train/>"
    result.show()
    assert "relu1" in capsys.readouterr().out
    assert "relu1" in result.to_html() and result.to_dict()["data"]["samples"] == 64
    assert list(normdiag.read_profile(result.write(tmp_path / "a.profile")).points) == list(result.points)


def test_a_comparison_shows_itself(samples: Path) -> None:
    apart = normdiag.diff(samples / "digits_cnn.onnx", samples / "digits_cnn_training.onnx")
    assert repr(apart) == "<DiffResult: 7 layers paired, 3 of them different.>"
    assert not apart.equal and not apart.to_dict()["equal"]


def test_a_history_shows_itself(samples: Path) -> None:
    files = [samples / "digits_cnn.onnx", samples / "digits_cnn_training.onnx"]
    found = normdiag.history(files, data=[str(samples / "digits.npz")])
    assert repr(found).startswith("<HistoryResult: 2 checkpoints on ") and len(found.to_dict()["steps"]) == 2
