"""ND301 where one layer stands alone below the limit of drift, and the traps of data unlike that of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import normdiag
from normdiag.data import DataOptions
from normdiag.models import LoadOptions
from normdiag.records import Finding, LayerMetrics, Report
from tests.rules.test_rules import DATA, found, report, row


def rows(*owns: float, deployed: Sequence[float] = (), **changes: object) -> Report:
    sizes = zip("abcdef", deployed or owns, owns, strict=False)
    return report(*(row(name, *size, **changes) for name, *size in sizes))  # type: ignore[arg-type]


def alone(of: Report) -> list[Finding]:
    """What is found of a layer that stands alone."""
    return [each for each in found("ND301", of) if "those of the other layers" in each.text]


@pytest.mark.parametrize("own", [0.25, 0.4, 0.49])
def test_a_later_layer_far_above_the_others_is_a_warning(own: float) -> None:
    (finding,) = alone(rows(0.03, own, 0.02, 0.04))
    assert (finding.layer, finding.severity, finding.confidence) == ("b", "warning", "medium")
    assert f"those of the other layers by {finding.evidence['next']:.2g} at most" in finding.message
    assert finding.evidence["next"] == pytest.approx(0.04, abs=0.01)
    assert finding.evidence["own_drift"] == pytest.approx(own, abs=0.02)


@pytest.mark.parametrize(
    "owns",
    [
        (0.05, 0.18, 0.02, 0.03),  # too little
        (0.05, 0.4, 0.11, 0.02),  # others drift too
        (0.11, 0.4, 0.02, 0.02),
        (0.05, 0.4, 0.4, 0.02),
        (0.4, 0.02, 0.02, 0.02),  # the first, as brighter images do
    ],
)
def test_it_is_silent(owns: tuple[float, ...]) -> None:
    assert not alone(rows(*owns))


def test_two_layers_are_enough() -> None:
    assert alone(rows(0.02, 0.4)) and not alone(rows(0.4, 0.02))


def test_means_of_later_layers_that_no_data_could_move() -> None:
    means = found("ND301", rows(0.05, 0.4, 0.11, 0.35))
    assert [(each.layer, each.severity) for each in means] == [("b", "warning"), ("d", "warning")]
    assert all("stored means are off" in each.text for each in means)
    assert not found("ND301", rows(0.4, 0.2, 0.2, 0.2)), "the first layer's follow the data"
    assert not found("ND301", rows(0.05, 0.4, 0.11, 0.35, spread=0.9, n=10))


def test_the_limits_matter() -> None:
    """Each case is within a factor of two of its limit, on either side."""
    assert alone(rows(0.02, 0.3, 0.02)) and not alone(rows(0.02, 0.14, 0.02))
    assert alone(rows(0.02, 0.45, 0.07)) and not alone(rows(0.02, 0.45, 0.13))


def test_both_ends_of_the_error_bars_count() -> None:
    assert not alone(rows(0.02, 0.4, 0.02, spread=0.9, n=10))
    assert alone(rows(0.02, 0.4, 0.02, spread=0.9, n=3000))
    for error, fires in ((0.25, False), (0.1, True)):
        unsure = row("c", 0.02, 0.02)
        assert unsure.own is not None
        unsure = replace(unsure, own=replace(unsure.own, square_se=2 * error**2))
        assert bool(alone(report(*rows(0.02, 0.4).layers, unsure))) is fires


def test_trap_own_drift_that_small_batches_make() -> None:
    """A norm after a linear layer, with two samples in each batch: the deployed layer is right."""
    assert not found("ND301", rows(0.02, 0.45, 0.02, deployed=(0.02, 0.03, 0.02)))


def test_an_error_elsewhere_is_the_finding() -> None:
    assert [(each.layer, each.severity) for each in found("ND301", rows(0.02, 0.4, 2.0, 0.02))] == [("c", "error")]


def test_layers_whose_statistics_are_unused_do_not_count() -> None:
    quiet = rows(0.02, 0.4, 0.02)
    used = tuple(
        LayerMetrics(replace(each.layer, batch_statistics=each.layer.name == "b"), 1, each.drift, each.own)
        for each in quiet.layers
    )
    assert not found("ND301", replace(quiet, layers=used))


def test_it_is_silent_on_random_data_without_own_drift_and_where_it_is_no_number() -> None:
    assert not found("ND301", replace(rows(0.02, 0.4, 0.02), data=replace(DATA, random=True)))
    assert not found("ND301", report(row("a", 0.02, None), row("b", 0.4, None), row("c", 0.02, None)))
    nan = row("d", 0.1, 0.1)
    assert nan.own is not None
    nan = replace(nan, own=replace(nan.own, rms=float("nan"), square=float("nan")))
    assert [each.layer for each in found("ND301", report(*rows(0.02, 0.4, 0.02).layers, nan))] == ["b"]


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda x: x,
    "darker": lambda x: x * 0.7,
    "brighter": lambda x: np.minimum(x * 1.3, 255),
    "flatter": lambda x: (x - 128) * 0.7 + 128,
    "mirrored": lambda x: x[:, :, ::-1],
    "coarse": lambda x: np.round(x / 16) * 16,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_trap_a_published_network_on_changed_images(
    change: Callable[[np.ndarray], np.ndarray], real: Callable[[str], Path]
) -> None:
    pytest.importorskip("torch")
    with np.load(real("cifar10/test_100.npz")) as arrays:
        pixels = change(arrays["x"].astype(np.float32)) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((pixels - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    module = normdiag.models.load(
        real("akamaster/resnet20-12fca82f.th"),
        LoadOptions(arch=f"{Path(__file__).parents[1]}/nets/resnet20.py:ResNet20"),
    ).program
    findings = normdiag.inspect(module, x, data_options=DataOptions(batch_size=50)).findings
    assert not [each for each in findings if each.rule == "ND301"]
