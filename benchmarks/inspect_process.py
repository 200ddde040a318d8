"""What a whole process costs, against the plainest way to do the least: `python -m benchmarks.inspect_process`.

Three pairs, each run in turn in fresh processes, median time ratios and peak resident memory:
`normdiag --help` against `import torch`; static inspection of a ResNet50-size .onnx against `onnx.load`; static
inspection of a ResNet18-size state dict against `torch.load`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

ENVIRONMENT = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class Pair:
    """A command of ours, and the plain one that it is measured against."""

    name: str
    ours: list[str]
    plain: list[str]
    target: float


def write_models(onnx_file: Path, torch_file: Path) -> None:
    """A ResNet50 as ONNX (102 MB), and a state dict of as many values as a ResNet18 (46 MB)."""
    import torch

    from benchmarks.inspect_onnx import export
    from benchmarks.nets import NETS

    export("resnet50", onnx_file, batch=16, image=224)
    weights = NETS["resnet50"]().state_dict()
    kept = {name: value for name, value in weights.items() if not name.startswith("layer4")}
    torch.save(kept | {"fill.weight": torch.randn(1000, 2975)}, torch_file)


def prepare(folder: Path) -> list[Pair]:
    """Write the two models in a process of their own (a child's peak memory begins at its parent's), and pair up."""
    onnx_file, torch_file = folder / "resnet50.onnx", folder / "resnet18_size.pt"
    writer = get_context("spawn").Process(target=write_models, args=(onnx_file, torch_file))
    writer.start()
    writer.join()
    normdiag = [sys.executable, "-m", "normdiag"]
    return [
        Pair("--help", [*normdiag, "--help"], [sys.executable, "-c", "import torch"], 0.25),
        Pair(
            "static .onnx",
            [*normdiag, "inspect", str(onnx_file)],
            [sys.executable, "-c", f"import onnx; onnx.load({str(onnx_file)!r})"],
            2.0,
        ),
        Pair(
            "static state dict",
            [*normdiag, "inspect", str(torch_file)],
            [sys.executable, "-c", f"import torch; torch.load({str(torch_file)!r}, map_location='cpu')"],
            0.3,
        ),
    ]


def cost(command: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak resident MiB of one fresh process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return seconds, usage.ru_maxrss / 1024


def row(pair: Pair, rounds: int) -> str:
    """One line of the table. The first round only warms the caches of the file system."""
    runs = [(cost(pair.ours), cost(pair.plain)) for _ in range(rounds + 1)][1:]
    ours, plain = (median(run[side][0] for run in runs) for side in (0, 1))
    ratio = median(a[0] / b[0] for a, b in runs)
    memory, plain_memory = (median(run[side][1] for run in runs) for side in (0, 1))
    return (
        f"| {pair.name} | {ours:.2f} s | {plain:.2f} s | **{ratio:.2f}** | {pair.target} "
        f"| {memory:.0f} MiB | {plain_memory:.0f} MiB | {memory / plain_memory:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print("| command | normdiag | plain | time ratio | target | memory | plain | memory ratio |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for pair in prepare(Path(folder)):
            print(row(pair, rounds), flush=True)


if __name__ == "__main__":
    main()
