"""ND403: what fires, what stays silent, and the traps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import normdiag
from normdiag.graph.importers.onnx import op_graph
from normdiag.models import LoadOptions
from normdiag.models.onnx.external import TensorReader
from normdiag.records import ActivationMetrics
from normdiag.rules import RULES, Context, with_findings
from tests.nets.onnx.text import from_text
from tests.rules.test_rules import DATA, bn, found, report

STEEPEST = {"sigmoid": 0.25, "tanh": 1.0, "hard_sigmoid": 1 / 6}


def chain(*slopes: float, kind: str = "sigmoid", **changes: object) -> tuple[ActivationMetrics, ...]:
    """Activations whose root mean squared derivative is this share of their steepest slope."""
    return tuple(
        replace(ActivationMetrics(f"act{i}", kind, 0.1, (slope * STEEPEST[kind]) ** 2, 20, 0), **changes)  # type: ignore[arg-type]
        for i, slope in enumerate(slopes)
    )


@pytest.mark.parametrize(("kind", "slopes"), [("sigmoid", (0.9, 0.1, 0.9)), ("tanh", (0.4,) * 6)])
def test_fires_on_a_chain_and_names_the_one_that_lets_least_through(kind: str, slopes: tuple[float, ...]) -> None:
    (finding,) = found("ND403", report(bn(), activations=chain(*slopes, kind=kind)))
    assert (finding.severity, finding.evidence["depth"]) == ("warning", len(slopes))
    assert finding.layer == ("act1" if kind == "sigmoid" else "act0")


@pytest.mark.parametrize(("slope", "fires"), [(0.3, True), (0.49, True), (0.51, False), (0.9, False)])
def test_half_of_the_steepest_slope_is_the_limit(slope: float, fires: bool) -> None:
    assert bool(found("ND403", report(bn(), activations=chain(*[slope] * 8)))) is fires


def test_a_short_chain_that_still_passes_a_hundredth_is_silent() -> None:
    assert not found("ND403", report(bn(), activations=chain(0.45, 0.45, 0.45, kind="tanh")))
    for slope, fires in ((0.11, False), (0.09, True)):
        assert bool(found("ND403", report(bn(), activations=chain(slope, slope, kind="tanh")))) is fires
    assert not found("ND403", report(bn(), activations=chain(0.001)))


def test_a_dead_activation_leaves_nothing() -> None:
    (finding,) = found("ND403", report(bn(), activations=chain(0.9, 0.0)))
    assert finding.evidence["remains"] == 0.0


def test_trap_deep_healthy_sigmoids() -> None:
    """Forty of them leave 1e-30 at best, and are trained with BatchNorm."""
    assert not found("ND403", report(bn(), activations=chain(*[0.7] * 40)))


@pytest.mark.parametrize("kind", ["relu", "gelu", "silu", "leaky_relu"])
def test_trap_gates_beside_unbounded_activations(kind: str) -> None:
    main = ActivationMetrics("main", kind, 0.5, 0.5, 20, 0)
    assert not found("ND403", report(bn(), activations=(*chain(*[0.1] * 5), main)))


def test_the_model_s_own_output_is_no_part_of_the_chain() -> None:
    assert not found("ND403", report(bn(), activations=(*chain(0.9), *chain(0.01, final=True))))
    output = replace(ActivationMetrics("out", "relu", 0.5, 0.5, 20, 0), final=True)
    assert found("ND403", report(bn(), activations=(*chain(*[0.1] * 5), output)))


@pytest.mark.parametrize(("error", "severities"), [(0.0, ["warning"]), (0.02, ["info"]), (0.15, [])])
def test_nd401_takes_two_standard_errors_off(error: float, severities: list[str]) -> None:
    act = replace(ActivationMetrics("act", "tanh", 0.42, 0.5, 20, 0), saturated_se=error)
    assert [each.severity for each in found("ND401", report(bn(), activations=(act,)))] == severities


def test_silent_on_random_data_and_without_activations() -> None:
    assert not found("ND403", report(bn(), activations=chain(*[0.1] * 5), data=replace(DATA, random=True)))
    assert not found("ND403", report(bn()))


@pytest.mark.parametrize(
    ("norm", "step", "fires"), [("none", "0100", True), ("none", "5000", False), ("batch", "0100", False)]
)
def test_the_net_of_the_batch_norm_paper(norm: str, step: str, fires: bool, samples: Path) -> None:
    pytest.importorskip("torch")
    seen = normdiag.inspect(
        samples / f"digits_mlp_{norm}_{step}.pt",
        data=[str(samples / "digits.npz")],
        load_options=LoadOptions(arch=f"{samples}/net.py:DigitsMLP", arch_args=(f"norm={norm}",)),
    )
    assert [each.layer for each in seen.findings if each.rule == "ND403"] == ["hidden3.sigmoid"] * fires


@pytest.mark.parametrize(
    ("body", "share", "severity"),
    [
        ("m = GlobalAveragePool(x) s = Sigmoid(m) z = Mul(x, s)", 0.5, "info"),
        ("m = GlobalAveragePool(x) s = Sigmoid(m) z = Mul(x, s)", 0.95, "warning"),
        ("z = Sigmoid(x)", 0.5, "warning"),
    ],
    ids=["a gate", "a gate that never moves", "no gate"],
)
def test_a_gate_may_be_open_or_shut(body: str, share: float, severity: str) -> None:
    graph = op_graph(from_text(f"g (float[N,2,8,9] x) => (float[N,2,8,9] z) {{ {body} }}", 20), TensorReader(Path()))
    (sigmoid,) = (op.name for op in graph.ops if op.operator == "Sigmoid")
    rules = [rule for rule in RULES if rule.id == "ND401"]
    seen = report(bn(), activations=(ActivationMetrics(sigmoid, "sigmoid", share, 0.01, 20, 0),))
    (finding,) = (each for each in with_findings(Context(seen, graph), rules).findings)
    assert finding.severity == severity
