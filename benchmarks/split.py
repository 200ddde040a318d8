"""The gap's split and the noise of batches against experiments by other code, on networks that were not developed on.

    python -m benchmarks.split wide hourglass radio

The networks are held-out ones of benchmarks/diagnosis, whose statistics are shifted at random (0, 0.1, 0.3 standard
deviations). `inspect` sees 256 samples. The experiment: torch runs all 500 in training mode, their pooled statistics
are put in, and it is seen how much of the squared gap goes; and how far the statistics of batches of a size scatter,
all layers in training mode.
"""

from __future__ import annotations

import argparse
import copy
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import normdiag
from benchmarks.diagnosis.networks import names, subject
from benchmarks.diagnosis.subjects import NORMS
from normdiag import DataOptions
from normdiag.metrics import batch_noise

SHOWN, SEEN_BATCH = 256, 32


@dataclass(frozen=True, eq=False)
class Moments:
    """What the norms see batch by batch in training mode: means and biased variances (batches, C), values per batch."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def pooled(self) -> tuple[Tensor, Tensor]:
        """Mean and biased variance (C,) of all values."""
        weight = (self.count / self.count.sum())[:, None]
        mean = (weight * self.mean).sum(0)
        return mean, (weight * (self.var + self.mean.square())).sum(0) - mean.square()


def moments(net: nn.Module, x: Tensor, size: int) -> dict[str, Moments]:
    """Of every BatchNorm by name, on batches of `size` with all of them in training mode; dropout stays off."""
    copied, seen = training(net), dict[str, list[tuple[Tensor, Tensor, int]]]()

    def see(name: str, given: Tensor) -> None:
        values = given.double().transpose(0, 1).flatten(1)
        seen.setdefault(name, []).append((values.mean(1), values.var(1, correction=0), values.shape[1]))

    for name, each in copied.named_modules():
        if isinstance(each, NORMS):
            each.register_forward_pre_hook(lambda _, given, name=name: see(name, given[0]))
    with torch.no_grad():
        for part in x.split(size):
            if len(part) == size:
                copied(part)
    columns = {name: tuple(zip(*rows, strict=True)) for name, rows in seen.items()}
    return {
        name: Moments(torch.stack(mean), torch.stack(var), torch.tensor(count, dtype=torch.float64))
        for name, (mean, var, count) in columns.items()
    }


def training(net: nn.Module) -> nn.Module:
    """A copy in eval mode but for its BatchNorm layers."""
    copied = copy.deepcopy(net).eval()
    for each in copied.modules():
        if isinstance(each, NORMS):
            each.train()
    return copied


@torch.no_grad()
def recalibrated(net: nn.Module, x: Tensor, size: int) -> nn.Module:
    """A copy with the pooled statistics of batches of `size` in training mode."""
    copied, found = copy.deepcopy(net).eval(), moments(net, x, size)
    for name, each in copied.named_modules():
        if name in found and isinstance(each, NORMS) and each.running_mean is not None:
            mean, var = found[name].pooled()
            each.running_mean.copy_(mean)
            each.running_var.copy_(var)  # type: ignore[union-attr]
    return copied


@torch.no_grad()
def outputs(net: nn.Module, x: Tensor, size: int) -> Tensor:
    """Of batches of `size`, (N, ...) float64."""
    return torch.cat([net(part) for part in x.split(size) if len(part) == size]).double()


def share(net: nn.Module, x: Tensor, size: int) -> float:
    """The share of the squared gap at batches of `size` that goes with pooled statistics; 0 where these add to it."""
    deployed, batched = outputs(net, x, size), outputs(training(net), x, size)
    replaced = outputs(recalibrated(net, x, size), x, size)
    return max(1.0 - float((batched - replaced).square().sum() / (batched - deployed).square().sum()), 0.0)


def scatter(net: nn.Module, x: Tensor, size: int) -> dict[str, float]:
    """By layer the RMS difference of the statistics of batches from their mean, in stored standard deviations."""
    found = {}
    for name, seen in moments(net, x, size).items():
        norm = net.get_submodule(name)
        assert isinstance(norm, NORMS) and norm.running_var is not None
        s = (norm.running_var.double() + norm.eps).sqrt()
        z, r = seen.mean / s, (seen.var + norm.eps).sqrt() / s
        found[name] = float((z.var(0) + r.var(0)).mean().sqrt())
    return found


def shifted(net: nn.Module, by: float) -> nn.Module:
    """A copy whose stored means are off by so many standard deviations at random."""
    generator, copied = torch.Generator().manual_seed(0), copy.deepcopy(net).eval()
    for each in copied.modules():
        if isinstance(each, NORMS) and each.running_mean is not None and each.running_var is not None:
            each.running_mean += (
                by * each.running_var.sqrt() * torch.randn(each.running_mean.shape, generator=generator)
            )
    return copied


def splits(name: str) -> list[str]:
    """Rows of a table: what `inspect` says of drift in the gap of 256 samples, and the experiment on all."""
    given, rows = subject(name), []
    x = given.x()
    for by in (0.0, 0.1, 0.3):
        for size in (8, 32):
            net = shifted(given.module, by)
            options = DataOptions(batch_size=size, shuffled=False)
            gap = normdiag.inspect(net, x[:SHOWN].numpy(), data_options=options, rules=()).gap
            if gap is not None and gap.explained_drift is not None:
                real, error = share(net, x, size), gap.explained_se or np.nan
                found = f"{gap.explained_drift:.2f} ± {error:.2f} | {real:.2f} | {gap.explained_drift - real:+.2f}"
                rows.append(f"| {name} | {by} | {size} | {found} |")
    return rows


def noises(name: str) -> list[str]:
    """Rows of a table: noise predicted from 8 batches of 32, over what batches of other sizes do."""
    given, rows = subject(name), []
    options = DataOptions(batch_size=SEEN_BATCH, shuffled=False)
    report = normdiag.inspect(given.module, given.x()[:SHOWN].numpy(), data_options=options, rules=())
    own = {each.layer.name: each.own for each in report.layers if each.own is not None}
    for size in (8, 16, 32, 64):
        real = scatter(given.module, given.x(), size)
        ratios = [(batch_noise(own[layer], size) or np.nan) / value for layer, value in real.items() if layer in own]
        net = np.sqrt(
            sum((batch_noise(own[each], size) or np.nan) ** 2 for each in real if each in own)
            / sum(real[each] ** 2 for each in real if each in own)
        )
        rows.append(
            f"| {name} | {size} | {len(ratios)} | {net:.2f} | {np.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="+", choices=names(None))
    nets = parser.parse_args().nets
    warnings.simplefilter("ignore")
    print("| net | shifted by | batches of | drift in the gap | experiment | off by |\n|---|---|---|---|---|---|")
    for name in nets:
        print("\n".join(splits(name)), flush=True)
    print("\n| net | batches of | layers | all layers | by layer: median (range) |\n|---|---|---|---|---|")
    for name in nets:
        print("\n".join(noises(name)), flush=True)


if __name__ == "__main__":
    main()
