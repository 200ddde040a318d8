"""Charts have the numbers of the tables beside them, and each command has its own."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from normdiag.records import Diagnosis, LayerMetrics, Remedy
from normdiag.records.document import Document, Table
from normdiag.records.figures import Chart
from normdiag.report.abridge import Detail
from normdiag.report.charts import spreads
from normdiag.report.diff import diff_document
from normdiag.report.fold import fold_document
from normdiag.report.history import history_document
from normdiag.report.inspect import inspect_document
from normdiag.report.layer_details import focus, layer_details
from normdiag.report.recalibrate import recalibration_document
from normdiag.report.words import aligned_errors
from tests.report import diff_reports, fold_reports, history_reports, recalibration_reports
from tests.report.reports import batch_norm, drift_of, faulty, healthy, static_only, transformer

PAGE = Detail(figures=True)


def charts(document: Document) -> dict[str, Chart]:
    return {block.title: block for section in document.sections for block in section.blocks if isinstance(block, Chart)}


def test_there_are_none_where_they_are_not_asked_for() -> None:
    for report in (healthy(), transformer(), faulty()):
        document = inspect_document(report)
        assert charts(document) == {} and document.layers == ()


def test_a_chart_stands_before_the_table_of_its_places_and_values() -> None:
    document = inspect_document(faulty(), PAGE)
    section = next(each for each in document.sections if each.title.startswith("Stored statistics"))
    chart, table = section.blocks
    assert isinstance(chart, Chart) and isinstance(table, Table)
    assert list(chart.places) == list(table.names) and len(chart.places) == 55
    for series, title in zip(chart.series, ("drift", "local drift"), strict=True):
        column = next(each for each in table.columns if each.title == title)
        assert list(column.cells) == aligned_errors(list(zip(series.values, series.errors, strict=True)))


def test_the_layer_that_a_cause_names_is_marked_and_in_focus() -> None:
    cause = Diagnosis(
        "foreign_statistics", ("layer1.3.bn1", "bn1"), "high", "error", "s", "e", Remedy("recalibrate", "r")
    )
    report = replace(healthy(), diagnosis=(cause,))
    assert charts(inspect_document(report, PAGE))["Drift along the depth"].marked == {"layer1.3.bn1"}
    assert focus(replace(faulty(), diagnosis=(cause,))) == "layer1.3.bn1"
    assert focus(static_only()) == ""


def test_each_kind_of_report_has_its_charts() -> None:
    assert set(charts(inspect_document(faulty(), PAGE))) == {
        "Drift along the depth",
        "Saturation along the depth",
        "What goes of the gap, along the depth",
    }
    assert set(charts(inspect_document(transformer(), PAGE))) == {
        "Outlier channels along the depth",
        "Saturation along the depth",
        "Gradient that the activations let through, along the depth",
    }
    assert list(charts(recalibration_document(recalibration_reports.repaired(), PAGE))) == [
        "Statistics before and after, along the depth"
    ]
    assert list(charts(fold_document(fold_reports.mixed(), PAGE))) == ["Spread of the weight ranges"]


def test_two_models_part_where_the_mark_is() -> None:
    apart, stored = charts(diff_document(diff_reports.parted(), PAGE)).values()
    assert list(apart.places) == ["conv1", "norm1", "head", "output logits"]
    assert [series.values[1] for series in apart.series] == [0.137, 8e-6]
    assert apart.marked == {"norm1"} and apart.logarithmic
    assert {series.title for series in stored.series} == {"weights", "statistics"}


def test_percentiles_follow_the_steps_and_leave_a_gap_where_a_layer_is_not_there() -> None:
    run, norm, act = charts(history_document(history_reports.training(), PAGE)).values()
    assert list(run.places) == list(norm.places) == ["100", "1,000", "5,000"]
    assert [series.values[2] for series in norm.series] == [2.7, 0.1, -2.6]
    assert list(run.series[0].values) == pytest.approx([25.0, 24.0, 23.0])
    assert math.isnan(act.series[0].values[0]) and act.series[0].values[1] == 1.0


def test_the_gradient_ends_at_the_figure_that_the_text_gives() -> None:
    report = transformer()
    assert report.gradient is not None
    chart = charts(inspect_document(report, PAGE))["Gradient that the activations let through, along the depth"]
    network, sigmoids = chart.series
    assert network.values[-1] == pytest.approx(report.gradient.rms, rel=1e-2)
    assert sigmoids.values[-1] == report.gradient.sigmoid_bound


def test_one_value_far_above_the_others_asks_for_a_logarithmic_axis() -> None:
    assert spreads([0.1, 0.2, 0.1, 50.0]) and not spreads([0.1, 0.2, 0.3, 2.4])
    assert not spreads([]) and not spreads([math.nan, math.inf, 3.0])


def test_details_hold_the_channels_worst_first_and_count_the_others() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=200)
    big = LayerMetrics(batch_norm("big", 200), 1, drift_of(z, np.ones(200)))
    others = tuple(LayerMetrics(batch_norm(f"bn{i}", 200), 1, drift_of(2 * z, np.ones(200))) for i in range(40))
    details = layer_details(replace(healthy(), layers=(big, *others)), PAGE)
    assert details[0].columns is not None
    assert (len(details[0].columns["channel"]), details[0].hidden) == (64, 136)
    assert details[0].columns["channel"][0] == int(np.argmax(np.abs(z)))
    assert sum(detail.hidden == 0 for detail in details) == 8  # of the layers that drift most, all channels
    assert all(detail.histogram and sum(detail.histogram.counts) == 200 for detail in details)
    assert all(detail.hidden == 0 for detail in layer_details(healthy(), Detail(True, figures=True)))


def test_stored_against_observed_is_drawn_where_both_are_known() -> None:
    titles = [[scatter.title for scatter in each.scatters] for each in layer_details(healthy(), PAGE)]
    assert titles[0] == ["Mean of each channel", "Deviation of each channel", "Gamma and beta"]
    assert layer_details(transformer(), PAGE)[0].scatters == ()


def test_the_parts_of_the_gap_stand_in_the_order_of_the_network() -> None:
    report = faulty()
    assert report.gap is not None and report.gap.attribution is not None
    ranked = report.gap.attribution[::-1]
    report = replace(report, gap=replace(report.gap, attribution=ranked))
    chart = charts(inspect_document(report, PAGE))["What goes of the gap, along the depth"]
    assert list(chart.places) == [m.layer.name for m in report.layers[7:20]]
    removed = {each.layer: 100.0 * each.removed for each in ranked}
    assert list(chart.series[0].values) == [removed[name] for name in chart.places]
