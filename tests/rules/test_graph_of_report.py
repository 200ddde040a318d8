"""How the rules come by the graph of a model: only where one asks, only of ONNX models, and not kept."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import normdiag
from normdiag.records import FoldPlan, OpGraph
from normdiag.rules import RULES, Context, Rule
from normdiag.rules.rule import FindingDraft
from tests.nets.onnx.text import from_text
from tests.rules.graph_reports import ARRAYS, bn

BY_ID = {rule.id: rule for rule in RULES}
TEXT = f"g (float[N,4,5,5] x) => (float[N,4,5,5] y) {{ a = Conv(x, kernel) {bn('a', 'y', 'bn1')} }}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(from_text(TEXT, 17, **ARRAYS).SerializeToString())
    return path


def spy(id: str, seen: list[Context]) -> Rule:
    def check(context: Context, limits: object) -> list[FindingDraft]:
        seen.append(context)
        return []

    return Rule(id, "spy", "info", {}, check)


def test_rules_of_the_series_see_graph_and_plan_and_the_report_keeps_neither(model: Path) -> None:
    contexts: list[Context] = []
    report = normdiag.inspect(model, rules=(spy("ND299", contexts),))
    (seen,) = contexts
    assert isinstance(seen.graph, OpGraph) and isinstance(seen.folds, FoldPlan)
    assert [step.norm for step in seen.folds.steps] == ["bn1"]
    pickle.dumps(report)  # how a worker of `check --jobs` hands it on


def test_no_graph_is_built_for_the_other_rules(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a graph was built")

    monkeypatch.setattr("normdiag.graph.importers.onnx.op_graph", fail)
    contexts: list[Context] = []
    normdiag.inspect(model, rules=(BY_ID["ND101"], spy("ND199", contexts)))
    assert contexts[0].graph is None


def test_ranges_are_read_only_for_a_model_that_is_to_be_quantized(model: Path) -> None:
    contexts: list[Context] = []
    normdiag.inspect(model, rules=(spy("ND299", contexts),))
    normdiag.inspect(model, rules=(spy("ND299", contexts),), target="int8")
    assert [len(each.report.ranges) for each in contexts] == [0, 1]


def test_with_data_the_same_graph_is_looked_at(model: Path) -> None:
    data = np.random.default_rng(0).normal(size=(8, 4, 5, 5)).astype(np.float32)
    findings = normdiag.inspect(model, data).findings
    assert "ND202" in {finding.rule for finding in findings}


def test_a_graph_that_contradicts_itself_leaves_a_note(tmp_path: Path) -> None:
    broken = from_text(TEXT, 17, **ARRAYS)
    broken.graph.node.append(broken.graph.node[-1])  # writes y a second time
    path = tmp_path / "broken.onnx"
    path.write_bytes(broken.SerializeToString())
    report = normdiag.inspect(path)
    assert [note for note in report.notes if note.startswith("the rules on the graph (ND2xx) could not look: ")]
    assert {layer.layer.kind for layer in report.layers} == {"batch_norm"}
