"""Error bars of all figures over a layer, an activation, an output or the model, against their real scatter.

    python -m benchmarks.errors small digits resnet20 --repeats 60

Prints columns of the table of docs/numbers.md. small is a net of all kinds of layers whose samples are drawn anew each
time; 16,384 others give the truth. digits (the sample CNN) and resnet20 (../shared/real) draw without replacement from
the data at hand, whose figures count as the truth; their scatter is put right for that (finite population).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import normdiag
from normdiag import DataOptions
from normdiag.observe import passes
from normdiag.records import Report

Floats = NDArray[np.float64]
Images = NDArray[np.float32]
Figures = dict[tuple[str, str], tuple[float, float, float, float]]  # value, error, lower and upper end
REAL = Path("../shared/real")
LARGE = 16_384


@dataclass(frozen=True, eq=False)
class Subject:
    """A net, the data of the truth, and `draw` of so many samples again and again.

    `samples` are drawn and read in batches of `batch`; `size` is that of a finite population.
    """

    net: nn.Module
    truth: Images
    draw: Callable[[int, int], Iterator[Images]]
    samples: int
    batch: int
    size: float = np.inf


class Scaled(nn.Module):
    """LayerNorm over (N, T, C) of tokens out of (N, C, H, W), with GELU and an RMSNorm after it."""

    def __init__(self, channels: int) -> None:
        """A linear layer in between."""
        super().__init__()
        self.norm, self.linear, self.gelu = nn.LayerNorm(channels), nn.Linear(channels, 24), nn.GELU()
        self.rms = nn.RMSNorm(24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) to (N, 24)."""
        return self.rms(self.gelu(self.linear(self.norm(x.flatten(2).transpose(1, 2))))).mean(1)


def small_net() -> nn.Module:
    """BatchNorm, GroupNorm, InstanceNorm, LayerNorm and RMSNorm, SiLU, ReLU, tanh and GELU, with random weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16, momentum=None),
        nn.SiLU(),
        nn.Conv2d(16, 24, 3, 2, 1),
        nn.BatchNorm2d(24, momentum=None),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.GroupNorm(4, 24),
        nn.Tanh(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.InstanceNorm2d(24),
        Scaled(24),
        nn.Linear(24, 10),
    )


def small_samples(count: int, seed: int) -> Images:
    """Images of a few patterns at random strength and brightness, with noise: pixels of one image are alike."""
    patterns = np.random.default_rng(1).normal(size=(6, 3, 8, 8))
    random = np.random.default_rng(seed)
    strength = random.normal(size=(count, 6)) * random.lognormal(0, 0.4, (count, 1))
    images = np.tensordot(strength, patterns, 1) + random.normal(0, 0.5, (count, 3, 1, 1))
    return (images + random.normal(0, 0.5, images.shape)).astype(np.float32)


def small() -> Subject:
    """Statistics of other samples that are brighter, so that something drifts."""
    net = small_net()
    with torch.no_grad():
        for part in torch.from_numpy(small_samples(2048, 2) * 1.2 + 0.15).split(256):
            net.train()(part)
    return Subject(net.eval(), small_samples(LARGE, 3), _anew, 128, 16)


def _anew(size: int, repeats: int) -> Iterator[Images]:
    return (small_samples(size, 1000 + index) for index in range(repeats))


def digits() -> Subject:
    """The sample CNN."""
    from tests.nets import digits as sample

    return _finite(sample.digits_cnn(), sample.digits()[0], 128, 16)


def resnet20() -> Subject:
    """Third-party weights on a part of their training images."""
    from tests.nets.resnet20 import load_resnet20, prepare

    net = load_resnet20(REAL / "akamaster/resnet20-12fca82f.th")
    return _finite(net.eval(), prepare(REAL / "cifar10/train_1000.npz"), 256, 32)


SUBJECTS = {each.__name__: each for each in (small, digits, resnet20)}


def _finite(net: nn.Module, x: Images, samples: int, batch: int) -> Subject:
    return Subject(net, x, lambda size, repeats: subsamples(x, size, repeats), samples, batch, len(x))


def subsamples(x: Images, size: int, repeats: int) -> Iterator[Images]:
    """As many as can be disjoint are, then from the beginning in another order."""
    rng = np.random.default_rng(0)
    per_pass = len(x) // size
    for index in range(repeats):
        if index % per_pass == 0:
            order = rng.permutation(len(x))
        yield x[order[index % per_pass * size :][:size]]


def figures(report: Report) -> Figures:
    """Every figure of a report that has an error over samples or batches."""
    found: Figures = {}
    for name, kind, value, error in _over_samples(report):
        if value is not None and error is not None:
            found[name, kind] = value, error, value - 2 * error, value + 2 * error
    for row in report.layers:
        for kind, drift in (("drift as deployed", row.drift), ("local drift", row.own)):
            if drift is not None:
                found[row.layer.name, kind] = drift.corrected, drift.se, drift.lower, drift.upper
    return found


def _over_samples(report: Report) -> Iterator[tuple[str, str, float | None, float | None]]:
    for row in report.layers:
        name, groups = row.layer.name, row.groups
        if row.drift is not None:
            yield name, "mean z over the channels", row.drift.over_z.mean, row.drift.over_z.mean_se
            yield name, "mean r over the channels", row.drift.over_r.mean, row.drift.over_r.mean_se
        if groups is not None:
            yield name, "median variance of a group", groups.variance_median, groups.variance_median_se
            yield name, "outlier channel's ratio", groups.outlier_ratio, groups.outlier_ratio_se
    for each in report.activations:
        yield each.name, "saturated share", each.saturated_fraction, each.saturated_se
        yield each.name, "mean squared derivative", each.mean_squared_derivative, each.mean_squared_derivative_se
    if report.gradient is not None:
        yield "model", "gradient along the depth", report.gradient.rms, report.gradient.rms_se
    gap, again = report.gap, report.recalibration
    if gap is not None:
        yield "gap", "gap: relative RMS", gap.relative_rms, gap.relative_rms_se
        yield "gap", "gap: answers changed", gap.top1_disagreement, gap.top1_disagreement_se
        yield "gap", "gap: JS divergence", gap.js_divergence, gap.js_divergence_se
        yield "gap", "gap: share of drift", gap.explained_drift, gap.explained_se
    if again is not None:
        change = again.change
        yield "pass C", "recalibration: relative RMS", change.relative_rms, change.relative_rms_se
        yield "pass C", "recalibration: answers changed", change.answers_changed, change.answers_changed_se
        yield "pass C", "recalibration: JS divergence", change.js_divergence, change.js_divergence_se


def inspected(net: nn.Module, x: Images, batch: int) -> Figures:
    """The figures of all samples, read in their order."""
    options = DataOptions(batch_size=batch, shuffled=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return figures(normdiag.inspect(net, x, data_options=options, rules=()))


def compared(name: str, repeats: int) -> dict[tuple[str, str], tuple[float, float]]:
    """For each figure the mean error over the real scatter, and the share of intervals that hold the truth.

    What is not in the report on every draw is left out.
    """
    subject = SUBJECTS[name]()
    with mock.patch.multiple(passes, HELD_SAMPLES=len(subject.truth), HELD_BYTES=1 << 40):  # pass C on all of it
        truth = inspected(subject.net, subject.truth, subject.batch)
    drawn = [inspected(subject.net, part, subject.batch) for part in subject.draw(subject.samples, repeats)]
    found = {}
    for key, (true, *_) in truth.items():
        values = np.array([each[key] for each in drawn if key in each])
        if len(values) < repeats:
            continue
        scatter = values[:, 0].std(ddof=1) / np.sqrt(1.0 - subject.samples / subject.size)
        covered = np.mean((values[:, 2] <= true) & (true <= values[:, 3]))
        found[key] = float(values[:, 1].mean() / scatter), float(covered)
    return found


def cells(rows: dict[tuple[str, str], tuple[float, float]]) -> dict[str, str]:
    """By kind of figure the median error over scatter with its range, and how many intervals hold the truth."""
    found = {}
    for kind in dict.fromkeys(kind for _, kind in rows):
        ratio, cover = np.array([row for (_, each), row in rows.items() if each == kind]).T
        between = f" ({ratio.min():.2f} to {ratio.max():.2f})" if len(ratio) > 1 else ""
        found[kind] = f"{np.median(ratio):.2f}{between}, {100 * cover.mean():.0f} %"
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nets", nargs="+", choices=SUBJECTS)
    parser.add_argument("--repeats", type=int, default=60)
    given = parser.parse_args()
    columns = [cells(compared(net, given.repeats)) for net in given.nets]
    print(f"| figure | {' | '.join(given.nets)} |\n|---|{'---|' * len(columns)}")
    for kind in dict.fromkeys(kind for column in columns for kind in column):
        print(f"| {kind} | {' | '.join(column.get(kind, '') for column in columns)} |")


if __name__ == "__main__":
    main()
