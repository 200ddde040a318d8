"""The text report: what must be in it, whatever it looks like."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.errors import UsageError
from normdiag.records import DataInfo, Finding, LayerMetrics, ModelInfo, Report
from normdiag.render.text.lines import cells
from normdiag.report.abridge import severities
from tests.report.reports import (
    REPORTS,
    batch_norm,
    drift_of,
    faulty,
    healthy,
    hostile,
    interrupted,
    on_random_data,
    random_drift,
    resnet_layers,
    static_only,
    transformer,
)
from tests.report.texts import inspect_text

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def plain(report: Report, width: int = 80, **options: object) -> str:
    return inspect_text(report, width=width, color=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("name", [*REPORTS, "hostile"])
def test_lines_fit(name: str, width: int) -> None:
    report = hostile() if name == "hostile" else REPORTS[name]()
    assert max(map(cells, plain(report, width).splitlines())) <= width


@pytest.mark.parametrize("name", REPORTS)
def test_colour_changes_nothing_but_colour(name: str) -> None:
    coloured = inspect_text(REPORTS[name](), width=80, color=True)
    assert "\x1b[" in coloured
    assert [line.rstrip() for line in ANSI.sub("", coloured).splitlines()] == plain(REPORTS[name]()).splitlines()


def test_environment_does_not_decide_on_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = inspect_text(healthy(), width=80, color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert inspect_text(healthy(), width=80, color=True) == expected
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in plain(healthy())


@pytest.mark.parametrize("width", [40, 80, 200])
def test_names_are_whole_however_narrow(width: int) -> None:
    names = [f"backbone.features.denseblock{b}.denselayer{n}.norm{k}" for b in (1, 2) for n in (1, 11) for k in (1, 2)]
    layers = tuple(LayerMetrics(batch_norm(n, 8), 1, random_drift(1, 8, 0.1), random_drift(2, 8, 0.1)) for n in names)
    text = plain(replace(healthy(), layers=layers), width)
    table = text[text.index("8 layers") : text.index("\nActivations")]
    first_column = "".join(re.match(r"\s*(\S*)", line)[1] for line in table.splitlines()[2:])  # type: ignore[index]
    assert first_column == "".join(names)


def test_narrow_tables_keep_drift_longest() -> None:
    text = plain(healthy(), 44)
    assert "drift" in text and "0.097 ± 0.004" in text
    assert "noise at" not in text


def test_findings_come_before_tables_and_severest_first() -> None:
    text = plain(faulty())
    order = [text.index(mark) for mark in ("✗ error", "! warning", "i info", "Stored statistics", "Activations\n")]
    assert order == sorted(order)
    assert "1 error, 6 warnings, 1 for information" in text
    assert text.count("Mend layer1.3.bn1 first.") == 1


def test_findings_of_one_rule_are_abridged_with_a_count() -> None:
    assert "and 3 more, --all shows them" in plain(faulty())
    everything = plain(faulty(), 200, all_layers=True)
    assert everything.count("inherited from layer1.3.bn1") == 6
    assert "--all" not in everything


def test_doubt_is_said() -> None:
    assert "(medium confidence)" in plain(faulty(), 200)
    assert "confidence" not in plain(healthy())


def table_names(text: str) -> list[str]:
    return re.findall(r"^\s+[✗!i]?\s*((?:layer\d\.\d+\.)?bn\d)\s+batch", text, re.MULTILINE)


def test_long_models_are_abridged_to_what_matters() -> None:
    report = faulty()
    names = table_names(plain(report))
    everything = [m.layer.name for m in report.layers]
    assert len(names) == 24
    assert names == [name for name in everything if name in names]  # network order
    assert {"bn1", "layer3.8.bn2"} <= set(names)  # the ends
    assert {f.layer for f in report.findings if "bn" in f.layer} <= set(names)
    hidden = [m.drift.corrected for m in report.layers if m.layer.name not in names]
    unflagged = [m.drift.corrected for m in report.layers[14:-1] if m.layer.name in names]
    assert max(hidden) <= min(unflagged)
    assert f"… {len(everything) - 24} more layers, --all shows them" in plain(report)
    assert table_names(plain(report, all_layers=True)) == everything


def test_hidden_layers_with_findings_are_counted() -> None:
    layers = resnet_layers(blocks=9)
    findings = tuple(Finding("ND301", "drift", "error", "high", (m.layer.name,), "off", "") for m in layers)
    assert "31 more layers (31 with findings)" in plain(replace(healthy(), layers=layers, findings=findings))


def test_static_report_shows_what_is_unknown_as_unknown() -> None:
    text = plain(static_only(), 200)
    row = next(line for line in text.splitlines() if line.strip().startswith("bn1 "))
    assert row.split()[1:6] == ["batch", "norm", "16", "?", "?"]
    head = next(line for line in text.splitlines() if line.strip().startswith("head.norm "))
    assert "layer or group norm" in head
    assert "?: not stated" in text and "? Not measured: no data was given" in text and "--arch" in text


def test_static_report_leaves_out_columns_that_do_not_apply() -> None:
    layers = tuple(LayerMetrics(m.layer) for m in transformer().layers)
    text = plain(Report(transformer().model, None, layers), 200)
    assert "gamma" in text
    assert "momentum" not in text and "tracked" not in text and "running variance" not in text


def test_random_data_is_labelled_all_over() -> None:
    text = plain(on_random_data(), channels="bn1")
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert "RANDOM DATA" in text
    labelled = [title for title in titles if "random data" in title]
    assert len(labelled) == len(titles) - 1  # all but the first line
    assert "random" not in plain(healthy()).lower()


def test_interrupted_report_says_so_at_the_top() -> None:
    assert "interrupted" in plain(interrupted()).split("Summary")[0]
    assert "interrupted" not in plain(healthy())


def test_layers_that_did_not_run_are_listed_apart() -> None:
    text = plain(interrupted())
    assert "layer3.0.bn2" in text.split("Layers not measured")[1]


def test_error_bars_that_are_not_known() -> None:
    assert "0.097 ± ?" in plain(interrupted())


def test_nan_drift_is_shown_and_never_hidden() -> None:
    layers = list(resnet_layers(blocks=9))
    bad = drift_of(np.array([0.1, np.nan]), np.ones(2))
    layers[30] = replace(layers[30], drift=bad)
    text = plain(replace(healthy(), layers=tuple(layers)))
    row = next(line for line in text.splitlines() if line.strip().startswith(layers[30].layer.name))
    assert "nan" in row and "#1 nan" in row


def test_groups_flags_are_explained() -> None:
    text = plain(transformer(), 200)
    assert "fp16: squares overflow half precision" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("head.norm"))
    assert "1 elem." in row
    whole = replace(transformer(), layers=transformer().layers[:2])
    assert "fp16" not in plain(whole)


def test_model_without_norms() -> None:
    empty = Report(ModelInfo("a.onnx", "onnx", "onnx", None, 12, 0), None, ())
    assert "No normalization layer was found." in plain(empty)
    assert "Normalization layers" not in plain(empty)


def test_live_module() -> None:
    report = replace(healthy(), model=ModelInfo(None, "module", "pytorch", None, None, 5))
    assert "a module in memory" in plain(report) and "5 parameters" in plain(report)


def test_unknown_layer_of_channels_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no normalization layer 'layer1\.0\.bn9'.*layer1\.0\.bn"):
        plain(healthy(), channels="layer1.0.bn9")
    with pytest.raises(UsageError, match="the model has none"):
        plain(replace(healthy(), layers=()), channels="bn1")


def test_channels_are_worst_first_and_add_up() -> None:
    report = faulty()
    metrics = report.layers[7]
    text = plain(report, 200, channels=metrics.layer.name)
    lines = text[text.index("Channels of") :].splitlines()
    start = next(i for i, line in enumerate(lines) if "──" in line) + 1
    rows = [line.split() for line in lines[start : start + 16]]
    d = [float(row[7]) for row in rows]
    assert d == sorted(d, reverse=True) and len(d) == 16
    worst = int(rows[0][0])
    assert worst == metrics.drift.max_channel
    s = np.sqrt(metrics.layer.running_var[worst] + 1e-5)
    assert float(rows[0][2]) == pytest.approx(metrics.layer.running_mean[worst] + metrics.drift.z[worst] * s, rel=1e-2)
    assert float(rows[0][4]) == pytest.approx(abs(metrics.drift.r[worst]) * s, rel=1e-2)


def test_channels_of_a_layer_can_be_named_as_printed() -> None:
    printed = "a\\x1b[31mred\\x1b[0m"
    assert f"Channels of {printed}" in plain(hostile(), channels=printed)


def test_attribution_is_ranked_and_abridged() -> None:
    text = plain(faulty())
    assert "layer1.3.bn1    85.0%" in text
    assert "… 3 more layers" in text


def test_messages_of_several_layers_in_notes_are_said_once() -> None:
    layers = tuple(replace(m, layer=replace(m.layer, notes=("eps is a guess",))) for m in resnet_layers())
    text = plain(replace(healthy(), layers=layers), 200)
    assert text.count("eps is a guess") == 1
    assert "bn1, layer1.0.bn1, layer1.0.bn2 and 16 more: eps is a guess" in text


PRINTABLE = {"\n"}


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_from_a_file_controls_the_terminal(name: str, note: str) -> None:
    layer = replace(batch_norm(name, 2), notes=(note,))
    finding = Finding("ND301", note, "error", "high", (name,), note, note)
    report = Report(
        ModelInfo(name, note, "pytorch", None, 1, 1, (note,)),
        DataInfo(note, 1, 1, 1, False, name),
        (LayerMetrics(layer, 1, random_drift(0, 2, 0.1)),),
        findings=(finding,),
        notes=(note,),
    )
    text = plain(report, channels=name)
    assert all(c.isprintable() or c in PRINTABLE for c in text)
    spelled = inspect_text(report, width=80, color=False, ascii_only=True)
    assert all(c.isprintable() or c in PRINTABLE for c in spelled) and spelled.isascii()


def test_markup_is_text() -> None:
    text = plain(hostile(), 200)
    assert "[red]boo[/red]" in text and "do [bold]this[/bold]\\x1b[2J" in text
    assert "line\\nforged: ok" in text and "evil\\u202egnp.exe" in text


def test_endless_names_lose_their_middle_with_a_count() -> None:
    text = plain(hostile(), 200)
    assert "9,760 characters left out" in text
    assert len(text) < 20_000


@pytest.mark.parametrize(
    ("severity", "count", "marked"),
    [("error", 3, 3), ("warning", 3, 3), ("info", 1, 1), ("info", 3, 0)],
)
def test_rows_are_marked_for_all_layers_of_a_finding_but_not_by_remarks_on_many(
    severity: str, count: int, marked: int
) -> None:
    names = tuple(metrics.layer.name for metrics in healthy().layers[:count])
    finding = Finding("ND202", "x", severity, "high", names, "off", "")  # type: ignore[arg-type]
    assert len(severities([finding])) == marked
