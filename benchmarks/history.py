"""Figure 1 of Ioffe and Szegedy (2015) with `normdiag history`: `python -m benchmarks.history`.

The network of their section 4.1, three layers of 100 sigmoids, in batches of 60, with and without BatchNorm; on MNIST
where it is there, on the sample models' digits otherwise: how far what enters the last sigmoids wanders.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import normdiag
from sample_models import digits
from sample_models.net import Hidden

REAL = Path(__file__).resolve().parents[2] / "shared" / "real" / "mnist"
BATCH, RATE, LAST = 60, 2.0, "hidden3.sigmoid"
Data = tuple[Tensor, Tensor]


class Perceptron(nn.Module):
    """Three hidden layers of 100 sigmoids and a linear layer, for images of any size."""

    def __init__(self, inputs: int, batch_norm: bool) -> None:
        super().__init__()
        self.hidden1 = Hidden(inputs, 100, batch_norm)
        self.hidden2 = Hidden(100, 100, batch_norm)
        self.hidden3 = Hidden(100, 100, batch_norm)
        self.head = nn.Linear(100, 10)
        for each in self.modules():
            if isinstance(each, nn.Linear):
                nn.init.normal_(each.weight, 0, 0.1)  # small Gaussian values, as in the paper

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden3(self.hidden2(self.hidden1(x.flatten(1)))))


def mnist() -> tuple[Data, Data]:
    """The test images, nine of ten to train with."""
    with gzip.open(REAL / "t10k-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    with gzip.open(REAL / "t10k-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    held = np.arange(len(x)) % 10 == 9
    return (_tensors(x[~held], y[~held])), _tensors(x[held], y[held])


def small() -> tuple[Data, Data]:
    """The digits of the sample models."""
    return digits.load(digits.FOLDER / digits.TRAINING), digits.load(digits.FOLDER / digits.VALIDATION)


def _tensors(x: np.ndarray, y: np.ndarray) -> Data:
    return torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)


def train(net: nn.Module, data: Data, steps: int, kept: int, folder: Path) -> list[Path]:
    """One checkpoint after each `kept` steps."""
    x, y = data
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    files = []
    for step in range(1, steps + 1):
        chosen = torch.randint(0, len(x), (BATCH,), generator=rng)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net.train()(x[chosen]), y[chosen]).backward()
        optimizer.step()
        if step % kept == 0:
            files.append(folder / f"step={step}.pt")
            torch.save(copy.deepcopy(net).eval(), files[-1])
    return files


def main() -> None:
    """Train both, and print what enters the last sigmoids over the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--every", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, held = mnist() if REAL.is_dir() else small()
    for batch_norm in (False, True):
        torch.manual_seed(0)
        net = Perceptron(data[0][0].numel(), batch_norm)
        with tempfile.TemporaryDirectory() as folder:
            files = train(net, data, options.steps, options.every, Path(folder))
            reading = normdiag.LoadOptions(trust=True)
            report = normdiag.history(files, held[0][:512].numpy(), load_options=reading)
        right = (net.eval()(held[0]).argmax(1) == held[1]).double().mean()
        points = [next(each for each in step.points if each.name == LAST) for step in report.steps]
        print(f"{'with' if batch_norm else 'without'} BatchNorm, {100 * right:.1f} % right; what enters {LAST}:")
        print("    step    15 %  median    85 %   moved   gradient")
        for step, each in zip(report.steps, points, strict=True):
            moved = "" if each.moved is None else f"{each.moved:.2f}"
            shape = f"{each.low:6.2f}  {each.middle:6.2f}  {each.high:6.2f}"
            print(f"  {step.step:6,}  {shape}  {moved:>6}  {step.gradient:9.5f}")
        farthest = max(each.moved or 0 for each in points)
        print(f"  farthest the medians moved from one checkpoint to the next: {farthest:.2f}")


if __name__ == "__main__":
    main()
