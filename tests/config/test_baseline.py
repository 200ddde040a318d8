"""Known findings: what is written, read, refused, known and stale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.config import baseline
from normdiag.errors import InputError
from normdiag.records import CheckedModel, CheckReport, Finding, KnownFinding
from tests.report.checks import IDS, finding
from tests.report.reports import healthy, static_only


def check(**models: tuple[Finding, ...]) -> CheckReport:
    checked = (
        CheckedModel(f"models/{name}.onnx", replace(static_only(), findings=found), rules=IDS)
        for name, found in models.items()
    )
    return CheckReport(tuple(checked), IDS)


def written(report: CheckReport, path: Path) -> tuple[KnownFinding, ...]:
    path.write_text(baseline.dump(report, path.parent), encoding="utf-8")
    return baseline.read(path)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("baseline.json")


BN1, BN2, OUTPUT = finding("ND101", "bn1"), finding("ND103", "bn2"), finding("ND102", None, "x")


def test_what_was_written_is_known_and_nothing_else(path: Path) -> None:
    before = check(a=(BN1, OUTPUT), b=(BN1,))
    known = written(before, path)
    assert baseline.apply(before, known, path).passed
    after = baseline.apply(check(a=(BN1, OUTPUT, BN2), b=(BN1, OUTPUT)), known, path)
    assert [model.new for model in after.models] == [(BN2,), (OUTPUT,)]
    assert (after.stale, after.baseline, after.passed) == ((), "baseline.json", False)


def test_the_file_is_sorted_and_says_each_finding_once(path: Path) -> None:
    one = baseline.dump(check(b=(BN2, BN1, BN1), a=(BN1, OUTPUT)), path.parent)
    assert one == baseline.dump(check(a=(OUTPUT, BN1), b=(BN1, BN2)), path.parent)
    assert [list(each.values()) for each in json.loads(one)["findings"]] == [
        ["models/a.onnx", "ND101", "bn1", "error"],
        ["models/a.onnx", "ND102", None, "error"],
        ["models/b.onnx", "ND101", "bn1", "error"],
        ["models/b.onnx", "ND103", "bn2", "error"],
    ]
    assert one.count("\n") == 9  # a layer a line, so that a diff can be read
    assert json.loads(baseline.dump(check(), path.parent))["findings"] == []


def test_paths_are_relative_to_the_baseline(path: Path, tmp_path: Path) -> None:
    (tmp_path / "ci").mkdir()
    known = written(check(a=(BN1,)), Path("ci/baseline.json"))
    assert known == (KnownFinding("../models/a.onnx", "ND101", "bn1", "error"),)
    assert baseline.apply(check(a=(BN1,)), known, Path("ci/baseline.json")).passed


def test_what_has_been_fixed_is_stale(path: Path) -> None:
    known = written(check(a=(BN1, BN2)), path)
    assert baseline.apply(check(a=(BN2,)), known, path).stale == (
        KnownFinding("models/a.onnx", "ND101", "bn1", "error"),
    )


def test_what_was_not_looked_for_is_not_stale(path: Path, tmp_path: Path) -> None:
    drift = finding("ND301", "bn1")
    known = written(check(a=(BN1, drift)), path)
    clean = check(a=())
    fewer = replace(clean, models=(replace(clean.models[0], rules=("ND102",)),))
    assert baseline.apply(fewer, known, path).stale == ()
    unreadable = replace(clean, models=(CheckedModel("models/a.onnx", error="no"),))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.onnx").touch()
    assert baseline.apply(unreadable, known, path).stale == ()
    assert baseline.apply(check(), known, path).stale == ()
    assert [each.rule for each in baseline.apply(clean, known, path).stale] == [
        "ND101"
    ]  # static: no drift is looked for
    on_data = replace(clean, models=(replace(clean.models[0], report=healthy()),))
    assert [each.rule for each in baseline.apply(on_data, known, path).stale] == ["ND101", "ND301"]
    stopped = replace(clean, models=(replace(clean.models[0], report=replace(healthy(), interrupted=True)),))
    assert baseline.apply(stopped, known, path).stale == ()


def test_findings_of_a_model_that_is_gone_are_stale(path: Path) -> None:
    known = written(check(gone=(BN1,)), path)
    assert baseline.apply(check(a=()), known, path).stale == known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"version": 1, "findings": 3}',
        '{"version": 3, "findings": []}',
        '{"version": 2, "findings": [3]}',
        '{"version": 2, "findings": [{"model": "a", "rule": "ND101", "layer": 3, "severity": "error"}]}',
        '{"version": 2, "findings": [{"model": "a", "rule": "ND101", "layer": "b", "severity": ["error"]}]}',
        '{"version": 2, "findings": [{"model": "a", "rule": "ND101", "layer": "b"}]}',
        '{"version": 2, "findings": [{"model": "a", "layer": null, "severity": "error"}]}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_baseline(path: Path, text: str | bytes) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=r"baseline\.json: "):
        baseline.read(path)


def test_a_baseline_that_names_one_layer_alone_of_each_finding_is_to_be_written_again(path: Path) -> None:
    path.write_text('{"version": 1, "findings": [{"model": "a", "rule": "ND201", "layer": "b1"}]}', encoding="utf-8")
    with pytest.raises(InputError, match="of version 1, not 2; write it again with --write-baseline") as caught:
        baseline.read(path)
    assert "\n" not in str(caught.value)


def of_layers(*layers: str, severity: str = "error") -> Finding:
    return replace(finding("ND201", None, "normalizes with its batch", severity), layers=layers)


def test_a_layer_that_breaks_later_is_new_and_told_alone(path: Path) -> None:
    known = written(check(a=(of_layers("b1", "b3"),)), path)
    assert [each.layer for each in known] == ["b1", "b3"]
    after = baseline.apply(check(a=(of_layers("b1", "b2", "b3"),)), known, path)
    (model,) = after.models
    assert model.new == (of_layers("b2"),) and not after.passed
    assert [each for each in model.findings if model.is_known(each)] == [of_layers("b1", "b3")]
    assert after.stale == ()


def test_it_does_not_matter_which_layer_is_named_first(path: Path) -> None:
    known = written(check(a=(of_layers("b1", "b2"),)), path)
    assert baseline.apply(check(a=(of_layers("b2", "b1"),)), known, path).passed
    fewer = baseline.apply(check(a=(of_layers("b2"),)), known, path)
    assert fewer.passed and fewer.stale == (KnownFinding("models/a.onnx", "ND201", "b1", "error"),)


@pytest.mark.parametrize(("before", "after"), [("warning", "error"), ("info", "warning")])
def test_what_has_become_worse_is_new_and_what_has_become_better_is_not(path: Path, before: str, after: str) -> None:
    milder, worse = of_layers("b1", severity=before), of_layers("b1", severity=after)
    known = written(check(a=(milder,)), path)
    assert baseline.apply(check(a=(worse,)), known, path).models[0].new == (worse,)
    for pair in ((worse, milder), (milder, worse)):
        both = written(check(a=pair), path)
        for found in pair:
            report = baseline.apply(check(a=(found,)), both, path)
            assert report.models[0].new == () and report.stale == ()


def test_a_finding_is_known_only_where_all_of_its_layers_are() -> None:
    model = replace(check(a=()).models[0], known={("ND201", "b1"): "error"})
    assert model.is_known(of_layers("b1"))
    assert not model.is_known(of_layers("b1", "b2")) and not model.is_known(of_layers())


def test_a_finding_of_the_whole_model_that_has_become_worse_is_new(path: Path) -> None:
    known = written(check(a=(replace(OUTPUT, severity="warning"),)), path)
    assert baseline.apply(check(a=(OUTPUT,)), known, path).models[0].new == (OUTPUT,)


@given(st.sets(st.sampled_from("abcdef"), min_size=1), st.sets(st.sampled_from("abcdef"), min_size=1))
def test_each_layer_is_known_new_or_stale(before: set[str], after: set[str]) -> None:
    document = json.loads(baseline.dump(check(m=(of_layers(*sorted(before)),)), Path()))
    known = tuple(KnownFinding(**entry) for entry in document["findings"])
    report = baseline.apply(check(m=(of_layers(*sorted(after)),)), known, Path("b.json"))
    (model,) = report.models
    old = {layer for each in model.findings if model.is_known(each) for layer in each.layers}
    assert (old, {layer for each in model.new for layer in each.layers}) == (before & after, after - before)
    assert {each.layer for each in report.stale} == before - after
    assert report.passed == (after <= before)


def test_a_byte_order_mark_is_no_obstacle(path: Path) -> None:
    known = written(check(a=(BN1,)), path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert baseline.read(path) == known


def test_paths_through_links_are_the_same_paths(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real" / "models").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "link")
    direct = check(a=(BN1,))
    known = written(direct, path)
    absolute = replace(direct.models[0], path=str(tmp_path / "link" / "models" / "a.onnx"))
    for place in ("real", "link"):
        report = baseline.apply(replace(direct, models=(absolute,)), known, tmp_path / place / "baseline.json")
        assert report.passed and report.stale == ()


def test_a_model_that_is_a_link_is_known_by_its_own_name(path: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.onnx").symlink_to("../store/0123")
    assert [each.model for each in written(check(a=(BN1,)), path)] == ["models/a.onnx"]


def test_a_baseline_that_is_missing(path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        baseline.read(path)


@given(st.text(max_size=20), st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=20))
def test_any_name_is_known_again(layer: str, name: str) -> None:
    report = check(**{name: (finding("ND101", layer),)})
    document = json.loads(baseline.dump(report, Path()))
    known = tuple(KnownFinding(**entry) for entry in document["findings"])
    assert baseline.apply(report, known, Path("b.json")).passed
