"""Error bars over a layer and of the gap, against their real scatter over subsamples.

    python -m benchmarks.errors resnet20 --samples 256 --batch 32 --repeats 40

Each subsample is drawn without replacement from the data at hand, whose figures count as the truth; the scatter is put
right for that (finite population). Needs ../shared/real for resnet20; digits is the sample CNN.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from normdiag.metrics import measure_layers, output_change
from normdiag.models import from_module
from normdiag.observe.pytorch import TorchRunner
from normdiag.records import Batch, Evidence

Floats = NDArray[np.float64]
Figures = dict[tuple[str, str], tuple[float, float, float, float]]  # value, error, lower and upper end
REAL = Path("../shared/real")


def subject(name: str) -> tuple[TorchRunner, NDArray[np.float32]]:
    """A net and its data."""
    if name == "resnet20":
        from tests.nets.resnet20 import load_resnet20, prepare

        net = load_resnet20(REAL / "akamaster/resnet20-12fca82f.th")
        return TorchRunner(from_module(net.eval())), prepare(REAL / "cifar10/train_1000.npz")
    import torch

    from sample_models.net import DigitsCNN

    digits = DigitsCNN()
    digits.load_state_dict(torch.load("sample_models/digits_cnn.pt", weights_only=True))
    with np.load("sample_models/digits.npz") as data:
        return TorchRunner(from_module(digits.eval())), (data["x"] / 255.0).astype(np.float32)


def evidence(runner: TorchRunner, x: NDArray[np.float32], size: int) -> Evidence:
    """The sums of all batches."""
    found = Evidence()
    for index, start in enumerate(range(0, len(x), size)):
        found = found + runner.observe(Batch((x[start : start + size],), first=start, index=index))
    return found


def figures(runner: TorchRunner, seen: Evidence) -> Figures:
    """The drift of every layer in both passes, and the gap."""
    found: Figures = {}
    for row in measure_layers(runner.layers(), seen):
        for kind, drift in (("deployed", row.drift), ("own", row.own)):
            if drift is not None:
                found[row.layer.name, kind] = drift.corrected, drift.se, drift.lower, drift.upper
    for name, sums in seen.outputs.items():
        change = output_change(sums)
        value, error = change.relative_rms, change.relative_rms_se or np.nan
        found[name, "gap"] = value, error, value - 2 * error, value + 2 * error
    return found


def subsamples(x: NDArray[np.float32], size: int, repeats: int) -> Iterator[NDArray[np.float32]]:
    """As many as can be disjoint are, then from the beginning in another order."""
    rng = np.random.default_rng(0)
    per_pass = len(x) // size
    for index in range(repeats):
        if index % per_pass == 0:
            order = rng.permutation(len(x))
        yield x[order[index % per_pass * size :][:size]]


def compared(name: str, samples: int, batch: int, repeats: int) -> dict[tuple[str, str], tuple[float, float]]:
    """For each figure the mean error over the real scatter, and the share of intervals that hold the truth."""
    runner, x = subject(name)
    truth = figures(runner, evidence(runner, x, batch))
    drawn = [figures(runner, evidence(runner, part, batch)) for part in subsamples(x, samples, repeats)]
    found = {}
    for key, (true, *_) in truth.items():
        values = np.array([each[key] for each in drawn])
        scatter = values[:, 0].std(ddof=1) / np.sqrt(1.0 - samples / len(x))
        covered = np.mean((values[:, 2] <= true) & (true <= values[:, 3]))
        found[key] = float(values[:, 1].mean() / scatter), float(covered)
    return found


def main() -> None:
    """Print the table of docs/numbers.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("net", choices=("resnet20", "digits"))
    for option, default in (("--samples", 256), ("--batch", 32), ("--repeats", 40)):
        parser.add_argument(option, type=int, default=default)
    given = parser.parse_args()
    rows = compared(given.net, given.samples, given.batch, given.repeats)
    for kind in ("deployed", "own", "gap"):
        found = np.array([row for (_, each), row in rows.items() if each == kind])
        ratio, cover = found[:, 0], found[:, 1]
        print(
            f"{kind}: error over scatter {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}), "
            f"intervals hold the truth in {100 * cover.mean():.0f} %"
        )


if __name__ == "__main__":
    main()
