"""What being watched costs a training: `OMP_NUM_THREADS=1 python -m benchmarks.callbacks [--rounds 5] [net ...]`.

Processor time of one thread, in rounds of some steps, each with its check for values that are not finite, and one look;
medians. The share is that of one check in every step and one look in EVERY steps, the defaults of normdiag.callbacks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.nets import NETS
from normdiag.callbacks import Watch
from normdiag.callbacks.watch import EVERY
from sample_models.net import DigitsCNN, DigitsTransformer
from tests.nets.resnet20 import ResNet20

STEPS = 10
# Name, net, batch, classes.
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "digits CNN": (DigitsCNN, (32, 1, 8, 8), 10),
    "digits transformer": (DigitsTransformer, (32, 1, 8, 8), 10),
    "ResNet20": (ResNet20, (128, 3, 32, 32), 10),
    "resnet50": (NETS["resnet50"], (32, 3, 64, 64), 1000),
}


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def measure(name: str, rounds: int) -> tuple[float, float, float]:
    """Median seconds of a step, of a check and of a look."""
    build, shape, classes = CASES[name]
    torch.manual_seed(0)
    net, images, labels = build(), torch.rand(4 * shape[0], *shape[1:]), torch.randint(classes, (shape[0],))
    batches = list(images.split(shape[0]))
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    watch = Watch(batches)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(batches[0]), labels).backward()
        optimizer.step()

    steps, checks, looks = list[float](), list[float](), list[float]()
    for _ in range(rounds + 1):
        for _ in range(STEPS):
            steps.append(seconds(step))
            checks.append(seconds(lambda: watch.check_finite(net, 1)))
        looks.append(seconds(lambda: watch.look(net, 1)))
    return median(steps[STEPS:]), median(checks[STEPS:]), median(looks[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=list(CASES), metavar="net")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print("| net | batch | step, ms | check, ms | look, ms | share of the time |\n|---|---|---|---|---|---|")
    for name in given.nets:
        step, check, look = measure(name, given.rounds)
        share = (check + look / EVERY) / step
        shape = "x".join(map(str, CASES[name][1]))
        print(f"| {name} | {shape} | {1e3 * step:.1f} | {1e3 * check:.3f} | {1e3 * look:.0f} | **{share:.2%}** |")


if __name__ == "__main__":
    main()
