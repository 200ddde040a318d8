"""What changes of the code cost: the same inspections by two checkouts, in turn, 1,024 samples each.

    python -m benchmarks.versions ../other-checkout --rounds 5 [resnet20 digits vit mobile]

Processor time of one thread in `normdiag.inspect` alone, without imports and after one inspection to warm up; each
checkout has a process of its own, and they take turns. Medians over the rounds, this checkout over the other. resnet20
needs ../shared/real.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

SAMPLES = 1024
Subject = tuple[Any, Any]


def resnet20() -> Subject:
    """Third-party weights, on the training images: something drifts."""
    from tests.nets.resnet20 import load_resnet20, prepare

    real = Path("../shared/real")
    return load_resnet20(real / "akamaster/resnet20-12fca82f.th"), _repeated(prepare(real / "cifar10/train_1000.npz"))


def digits() -> Subject:
    """The sample CNN on its own data: nothing drifts."""
    from tests.nets import digits as sample

    return sample.digits_cnn(), _repeated(sample.digits()[0])


def digits_onnx() -> Subject:
    """The same as an ONNX file."""
    return "sample_models/digits_cnn.onnx", digits()[1]


def vit() -> Subject:
    """A small transformer on images of 32 x 32: LayerNorm and GELU, no BatchNorm."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(192, 4, 384, activation="gelu", batch_first=True, norm_first=True)
    parts = (nn.Conv2d(3, 192, 4, 4), nn.Flatten(2), _Last(), nn.TransformerEncoder(layer, 4), nn.LayerNorm(192))
    return nn.Sequential(*parts).eval(), torch.randn(SAMPLES, 3, 32, 32).numpy()


def mobile() -> Subject:
    """A small net with BatchNorm and SiLU, whose statistics are those of its data: nothing drifts."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for inputs, outputs, stride in ((3, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1)):
        parts += [
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs, momentum=None),
            nn.SiLU(),
        ]
    net, x = nn.Sequential(*parts), torch.randn(SAMPLES, 3, 32, 32)
    with torch.no_grad():
        for part in x.split(256):
            net.train()(part)
    return net.eval(), x.numpy()


def _repeated(x: Any) -> Any:
    import numpy as np

    return np.resize(x, (SAMPLES, *x.shape[1:]))


def _Last() -> Any:  # noqa: N802 - a module without parameters
    from torch import Tensor, nn

    class Last(nn.Module):
        """(N, C, T) as (N, T, C)."""

        def forward(self, x: Tensor) -> Tensor:
            return x.transpose(1, 2)

    return Last()


SUBJECTS: dict[str, Callable[[], Subject]] = {
    each.__name__: each for each in (resnet20, digits, digits_onnx, vit, mobile)
}


def serve(name: str) -> None:
    """Inspect once for each line of stdin, and answer with the seconds that it took and whether pass C ran."""
    import warnings

    import torch

    import normdiag
    from normdiag.rules import RULES

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    net, x = SUBJECTS[name]()
    rules = tuple(rule for rule in RULES if not rule.needs_graph)  # the graph takes as long for 1 sample as for 1,024
    for _ in sys.stdin:
        start = time.process_time()
        report = normdiag.inspect(net, x, rules=rules)
        print(time.process_time() - start, getattr(report, "recalibration", None) is not None, flush=True)


class Server:
    """A process of one checkout."""

    def __init__(self, checkout: Path, name: str) -> None:
        """Starts it."""
        code = f"import runpy; runpy.run_path({str(Path(__file__))!r})['serve']({name!r})"
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=checkout,
        )

    def seconds(self) -> tuple[float, bool]:
        """Of one inspection, and whether pass C ran."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        took, again = self._process.stdout.readline().split()
        return float(took), again == "True"

    def close(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("nets", nargs="*", default=list(SUBJECTS))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print("| net | pass C | other, s | this, s | ratio |\n|---|---|---|---|---|")
    for name in given.nets:
        both = [Server(checkout, name) for checkout in (given.other, Path())]
        for each in both:
            each.seconds()
        rounds = [[each.seconds() for each in both] for _ in range(given.rounds)]
        for each in both:
            each.close()
        (other, this), ran = (median(row[side][0] for row in rounds) for side in (0, 1)), rounds[0][1][1]
        ratio = median(row[1][0] / row[0][0] for row in rounds)
        print(f"| {name} | {'ran' if ran else 'no'} | {other:.2f} | {this:.2f} | **{ratio:.2f}** |", flush=True)


if __name__ == "__main__":
    main()
