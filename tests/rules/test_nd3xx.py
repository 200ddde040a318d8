"""ND303 to ND307: what fires, what stays silent, and the traps."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

import normdiag
from normdiag.data import DataOptions
from normdiag.metrics import measure_drift
from normdiag.metrics.groups import measure_groups
from normdiag.models import LoadOptions
from normdiag.records import ChannelSums, Drift, Finding, GroupMetrics, GroupSums, LayerMetrics, NormLayer, Report
from tests.rules.test_rules import DATA, bn, found, report

RANDOM = replace(DATA, random=True)
CHANNELS = 16


def fed(factor: object = 1.0, shift: object = 0.0, var: float = 0.9, n: int = 400) -> Drift:
    """Drift of a layer whose channels vary `factor` times as much as stored and lie `shift` deviations off."""
    s = np.sqrt(var)
    noise = np.random.default_rng(0).normal(size=(n, CHANNELS)) * 0.01
    m = (noise * np.asarray(factor) + np.asarray(shift)) * s
    return measure_drift(ChannelSums.of(m, m * m + np.asarray(factor) ** 2 * var), np.full(CHANNELS, var), 1e-5)


def rows(first: Drift, own: Drift | None = None, **changes: object) -> list[LayerMetrics]:
    """A first layer with this drift, and a later one with this drift of its own."""
    return [
        LayerMetrics(bn("first", CHANNELS, **changes), 1, first, first),
        LayerMetrics(bn("later", CHANNELS), 1, first, fed() if own is None else own),
    ]


def spread(deviation: float) -> np.ndarray:
    """Factors whose logarithms have this standard deviation, around 1/3."""
    return np.exp(deviation * np.tile([-1.0, 1.0], CHANNELS // 2)) / 3


# ND303


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (255.0, "255 times as much as in training (as 0..255 in place of 0..1 would)"),
        (2.0, "(as -1..1 in place of 0..1 would)"),
        (0.22, "(as 0..1 in place of mean and standard deviation would)"),
        (57.0, "(as 0..255 in place of mean and standard deviation would)"),
        (9.0, "9 times as much as in training"),
    ],
)
def test_nd303_names_the_scale_and_the_usual_mix_up(factor: float, told: str) -> None:
    (finding,) = found("ND303", report(*rows(fed(factor))))
    assert (finding.layer, finding.severity) == ("first", "warning")
    assert finding.message.endswith(told)
    assert finding.evidence["factor"] == pytest.approx(factor, rel=1e-2)


def test_nd303_knows_a_shift_without_a_scale() -> None:
    (finding,) = found("ND303", report(*rows(fed(1.0, np.linspace(-2, 2, CHANNELS)))))
    assert "as if a constant were added" in finding.message


def test_nd303_is_silent_below_the_limit_on_drift() -> None:
    assert not found("ND303", report(*rows(fed(1.45))))
    assert found("ND303", report(*rows(fed(1.55))))


def test_nd303_trap_statistics_that_do_not_belong_to_the_weights() -> None:
    """Each channel differs in another way."""
    assert found("ND303", report(*rows(fed(spread(0.2)))))
    for deviation in (0.3, 0.46):
        assert not found("ND303", report(*rows(fed(spread(deviation)))))


def test_nd303_is_silent_where_a_later_layer_is_a_cause_too() -> None:
    assert found("ND303", report(*rows(fed(3.0), own=fed(1.4))))
    assert not found("ND303", report(*rows(fed(3.0), own=fed(1.6))))
    healthy, off = fed(), fed(3.0)
    late = [LayerMetrics(bn("first", CHANNELS), 1, healthy, healthy), LayerMetrics(bn("later", CHANNELS), 1, off, off)]
    assert not found("ND303", report(*late))


def test_nd303_needs_no_agreement_far_off() -> None:
    for shift, fires in ((7.0, False), (15.0, True)):
        assert bool(found("ND303", report(*rows(fed(spread(0.6), shift))))) is fires


def test_nd303_works_with_batches_of_one_and_leaves_out_dead_channels() -> None:
    assert found("ND303", report(LayerMetrics(bn("first", CHANNELS), 1, fed(3.0), None)))
    dead = np.where(np.arange(CHANNELS) < 13, 1e-5, 0.9)
    assert not found("ND303", report(*rows(fed(3.0), running_var=dead)))


def test_nd303_is_silent_on_random_data_without_data_and_for_unused_statistics() -> None:
    assert not found("ND303", report(*rows(fed(9.0)), data=RANDOM))
    assert not found("ND303", report(bn()))
    assert not found("ND303", report(*rows(fed(9.0), batch_statistics=True)[:1]))


IMAGENET = "mean=0.485:0.456:0.406,std=0.229:0.224:0.225"


@pytest.mark.parametrize(
    ("preprocess", "fires"),
    [
        ("imagenet", False),
        (f"scale=1/255,{IMAGENET},order=bgr", False),
        ("signed", True),
        ("unit", True),
        ("raw", True),
        ("scale=1/255,std=0.229:0.224:0.225", True),
        ("mean=124:116:104", True),
    ],
)
def test_nd303_on_resnet20(preprocess: str, fires: bool, real: Callable[[str], Path]) -> None:
    pytest.importorskip("torch")
    seen = normdiag.inspect(
        real("akamaster/resnet20-12fca82f.th"),
        data=[str(real("cifar10/test_100.npz"))],
        data_options=DataOptions(preprocess=preprocess, batch_size=50),
        load_options=LoadOptions(arch=f"{Path(__file__).parents[1]}/nets/resnet20.py:ResNet20"),
    )
    assert [each.layer for each in seen.findings if each.rule == "ND303"] == ["bn1"] * fires


def sampled(samples: Path, file: str, preprocess: str = "unit", **options: object) -> list[Finding]:
    data = DataOptions(preprocess=preprocess)
    return list(
        normdiag.inspect(samples / file, data=[str(samples / "digits.npz")], data_options=data, **options).findings
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("file", ["digits_cnn.onnx", "digits_mlp_batch.onnx"])
def test_nd303_on_the_sample_models(file: str, samples: Path) -> None:
    for preprocess, fires in (("unit", False), ("raw", True), ("signed", True)):
        assert any(each.rule == "ND303" for each in sampled(samples, file, preprocess)) is fires


def test_nd303_trap_foreign_statistics_in_the_first_layer(samples: Path) -> None:
    pytest.importorskip("torch")
    arch = LoadOptions(arch=f"{samples}/net.py:DigitsCNN")
    rules = {each.rule for each in sampled(samples, "digits_cnn_foreign.pt", load_options=arch)}
    assert "ND301" in rules
    assert "ND303" not in rules


# ND304


def noisy(noise: float, size: int = 32, **changes: object) -> LayerMetrics:
    """A layer in which batches of `size` samples add this much noise."""
    m = np.random.default_rng(1).normal(size=(4000, CHANNELS)) * noise * np.sqrt(size)
    batches = (ChannelSums.of(part, part * part + 1.0) for part in np.split(m, 125))
    drift = measure_drift(reduce(operator.add, batches), np.ones(CHANNELS), 1e-5)
    return LayerMetrics(bn(channels=CHANNELS, **changes), 1, drift, drift)


def serving(row: LayerMetrics, size: int | None = None, **changes: object) -> list[Finding]:
    return found("ND304", replace(report(row, **changes), serve_batch=size))  # type: ignore[arg-type]


def test_nd304_grades_the_noise_of_layers_that_use_their_batch() -> None:
    for noise, severity in ((0.08, None), (0.15, "warning"), (0.2, "warning"), (0.5, "error")):
        findings = serving(noisy(noise, batch_statistics=True))
        assert [each.severity for each in findings] == [severity] * bool(severity)


def test_nd304_takes_the_size_served() -> None:
    row = noisy(0.08, batch_statistics=True)
    assert not serving(row)
    (finding,) = serving(row, 4)
    assert re.match(r"bn1 \(0\.2\d\): in batches of 4, its batch's statistics add noise", finding.message)
    assert not serving(noisy(0.25, batch_statistics=True), 256)


def test_nd304_grades_each_layer_by_itself() -> None:
    loud = noisy(1.0, batch_statistics=True)
    rows = [replace(loud, layer=replace(loud.layer, name="a"))]
    for name, noise in (("b", 0.15), ("c", 0.05), ("d", 0.2)):
        row = noisy(noise, batch_statistics=True)
        rows.append(replace(row, layer=replace(row.layer, name=name)))
    error, warning = found("ND304", report(*rows))
    assert (error.severity, error.layers, warning.severity, warning.layers) == ("error", ("a",), "warning", ("d", "b"))
    assert warning.message.startswith("d (0.23), b (0.16): in batches of 32")


def test_nd304_is_a_what_if_for_running_statistics_and_only_when_asked() -> None:
    row = noisy(0.6)
    assert not serving(row)
    (finding,) = serving(row, 32)
    assert (finding.severity, "would add" in finding.message) == ("info", True)


def test_nd304_is_silent_on_random_data_and_without() -> None:
    row = noisy(0.6, batch_statistics=True)
    assert not serving(row, 4, data=RANDOM) and not serving(row, 4, data=None)


def test_nd304_on_the_model_exported_in_training_mode(samples: Path) -> None:
    for size, severity in ((32, None), (6, "warning"), (1, "error")):
        found_here = sampled(samples, "digits_cnn_training.onnx", serve_batch=size)
        assert [each.severity for each in found_here if each.rule == "ND304"] == [severity] * bool(severity)
    assert all(each.severity == "info" for each in sampled(samples, "digits_cnn.onnx", serve_batch=1))


# ND305


def grouped(
    variances: object, kind: str = "layer_norm", *, largest: float = 1.0, size: int = 32, **changes: object
) -> LayerMetrics:
    """A layer over groups of these variances, with |x| up to `largest` in the last of 32 features."""
    values = np.asarray(variances, np.float64)
    squares = np.ones(32) * values.size
    sums = GroupSums.of(values, squares, group_size=size, channel_count=values.size, abs_max=largest)
    layer = NormLayer("ln", kind, "module", 32, **{"eps": 1e-5, **changes})  # type: ignore[arg-type]
    return LayerMetrics(layer, 1, groups=measure_groups(sums, layer.eps))


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm", "group_norm", "instance_norm"])
def test_nd305_grades_the_share_of_groups_below_eps(kind: str) -> None:
    for below, severity in ((1, None), (3, "info"), (9, "info"), (11, "warning"), (20, "warning")):
        variances = np.where(np.arange(20) < below, 1e-7, 0.5)
        findings = found("ND305", report(grouped(variances, kind)))
        assert [each.severity for each in findings] == [severity] * bool(severity)


def test_nd305_is_silent_without_eps_for_single_elements_and_random_data() -> None:
    blank = np.zeros(20)
    assert found("ND305", report(grouped(blank)))
    assert not found("ND305", report(grouped(blank, eps=None)))
    assert not found("ND305", report(grouped(blank, size=1)))
    assert not found("ND305", report(grouped(blank), data=RANDOM))
    assert not found("ND305", report(grouped(np.full(20, 1.1e-5))))


def test_nd305_counts_channels_that_vary_in_training_only() -> None:
    factors = np.where(np.arange(CHANNELS) < 4, 1e-6, 1.0)
    (finding,) = found("ND305", report(LayerMetrics(bn(channels=CHANNELS), 1, fed(factors), None)))
    assert (finding.severity, finding.evidence["share"]) == ("info", pytest.approx(0.25))
    stored = bn(channels=CHANNELS, running_var=np.full(CHANNELS, 1e-7))
    assert not found("ND305", report(LayerMetrics(stored, 1, fed(factors), None)))


# ND306


def on(target: str | None, row: LayerMetrics) -> list[tuple[str, str]]:
    seen: Report = replace(report(row), target=target)  # type: ignore[arg-type]
    return [(each.rule, each.severity) for each in found("ND306", seen)]


def test_nd306_grades_by_where_it_runs_and_how_the_norm_is_written() -> None:
    for largest, origin, severity in (
        (255.0, "decomposed", None),
        (256.0, "decomposed", "error"),
        (256.0, "operator", "warning"),
        (70_000.0, "operator", "error"),
    ):
        row = grouped(np.ones(4), largest=largest)
        row = replace(row, layer=replace(row.layer, origin=origin))  # type: ignore[arg-type]
        assert on("fp16", row) == [("ND306", severity)] * bool(severity)
        assert on("fp32", row) == on(None, row) == [("ND306", "info")] * bool(severity)


def test_nd306_adds_the_squares_up_where_the_model_runs_in_float16() -> None:
    """4096 values of RMS 5: no square overflows, their sum does, in a kernel that keeps it in float16."""
    for variance, fires in ((25.0, True), (15.0, False)):
        row = grouped(np.ones(4), largest=21.0)
        assert row.groups is not None
        row = replace(row, groups=replace(row.groups, group_size=4096, largest_sum=4096 * variance))
        assert on("fp16", row) == [("ND306", "warning")] * fires
        assert on(None, row) == on("bf16", row) == []
        assert on("fp16", replace(row, layer=replace(row.layer, origin="decomposed"))) == [("ND306", "warning")] * fires


def test_nd306_asks_for_the_reach_of_a_batch_norm_not_its_square() -> None:
    assert on("fp16", LayerMetrics(bn(channels=CHANNELS), 1, fed(1.0, 1000.0))) == []
    for factor, fires in ((5.0, False), (7.0, True), (-7.0, True)):
        row = LayerMetrics(bn(channels=CHANNELS), 1, fed(1.0, factor * 10_000.0))
        assert on("fp16", row) == [("ND306", "error")] * fires
    for factor, fires in ((8_000.0, False), (20_000.0, True)):  # 6 deviations of 0.95 times as much
        assert on("fp16", LayerMetrics(bn(channels=CHANNELS), 1, fed(factor))) == [("ND306", "error")] * fires


def test_nd306_is_silent_on_random_data() -> None:
    row = grouped(np.ones(4), largest=1e6)
    assert not found("ND306", replace(report(row, data=RANDOM), target="fp16"))


# ND307


def outlier(largest: float, usual: float, kind: str = "layer_norm") -> LayerMetrics:
    row = grouped(np.ones(4), kind, largest=largest)
    assert row.groups is not None
    groups: GroupMetrics = replace(row.groups, channel_rms=np.array([*np.full(31, usual), largest / 4]))
    return replace(row, groups=replace(groups, outlier_channel=31))


@pytest.mark.parametrize(
    ("largest", "usual", "fires"),
    [(1500.0, 1.0, True), (900.0, 1.0, False), (150.0, 0.1, True), (90.0, 0.05, False), (150.0, 0.0, False)],
)
def test_nd307_wants_both_size_and_ratio(largest: float, usual: float, fires: bool) -> None:
    findings = found("ND307", report(outlier(largest, usual)))
    assert [(each.severity, each.evidence["feature"]) for each in findings] == [("info", 31)] * fires


def test_nd307_warns_where_a_narrow_format_is_declared_and_knows_its_kinds() -> None:
    for target, severity in (("int8", "warning"), ("fp16", "warning"), ("bf16", "info"), (None, "info")):
        seen: Report = replace(report(outlier(1500.0, 1.0)), target=target)  # type: ignore[arg-type]
        assert [each.severity for each in found("ND307", seen)] == [severity]
    assert not found("ND307", report(outlier(1500.0, 1.0, "group_norm")))
    assert not found("ND307", report(outlier(1500.0, 1.0), data=RANDOM))
