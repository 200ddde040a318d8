"""Cost of observing an ONNX model: one observe() against two plain, optimized onnxruntime runs on the same batch.

    python -m benchmarks.inspect_onnx [--batch 16] [--rounds 7] [--image 224] [net ...]

Both are timed in one process, in turn. The ratio is the median over the rounds of observe / (two plain runs). Peak
memory is that of a fresh process for each, above what it held before its first run.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
DEFAULT_NETS = ("resnet50", "densenet121", "mobilenet_v2", "vit_b")
MEMORY_BATCHES = 3


@dataclass(frozen=True)
class Cost:
    """Median seconds per batch, the median ratio with its quartiles, and peak memory in MB (nan: not measured)."""

    net: str
    plain: float
    observed: float
    ratio: float
    low: float
    high: float
    plain_memory: float = float("nan")
    observed_memory: float = float("nan")


def export(name: str, path: Path, batch: int, image: int) -> None:
    """Write a net of nets.py as ONNX with its BatchNorm layers still there."""
    import torch

    from benchmarks.nets import NETS, calibrated

    torch.manual_seed(0)
    net = calibrated(NETS[name]()) if name != "vit_b" else NETS[name]().eval()
    # len(x) in the transformer fixes the batch; the others leave it free, as a user would.
    free = None if name == "vit_b" else ({0: torch.export.Dim("n", min=1, max=512)},)
    torch.onnx.export(
        net,
        (torch.randn(batch, 3, image, image),),
        path,
        dynamo=True,
        optimize=False,  # the exporter's own optimizer folds BatchNorm into the convolutions
        external_data=False,
        dynamic_shapes=free,
        verbose=False,
    )


def plain_run(path: Path, x: np.ndarray) -> Callable[[], object]:
    """One optimized run as a user would have it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)


def observed_run(path: Path, x: np.ndarray) -> Callable[[], object]:
    """One observe() of a runner."""
    from normdiag.graph import open_model
    from normdiag.observe.onnx import OnnxRunner
    from normdiag.records import Batch

    runner = OnnxRunner(open_model(path))
    return lambda: runner.observe(Batch((x,)))


def compare(name: str, path: Path, batch: int, image: int, rounds: int) -> Cost:
    """Time both in turn."""
    x = _images(batch, image)
    plain, observed = plain_run(path, x), observed_run(path, x)
    seconds: list[tuple[float, float]] = []
    for index in range(rounds + 1):
        pair = _seconds(plain) + _seconds(plain), _seconds(observed)
        if index:  # the first round warms up
            seconds.append(pair)
    ratios = sorted(b / a for a, b in seconds)
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    plain_median, observed_median = (statistics.median(column) for column in zip(*seconds, strict=True))
    return Cost(name, plain_median, observed_median, statistics.median(ratios), quartiles[0], quartiles[2])


def peak_memory(kind: str, path: Path, batch: int, image: int) -> float:
    """Peak resident memory in MB of a fresh process that runs a few batches."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.inspect_onnx",
        "--memory",
        kind,
        "--batch",
        str(batch),
        "--image",
        str(image),
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def memory_probe(kind: str, path: Path, batch: int, image: int) -> float:
    """Run in this process, and return by how many MB the peak grew over the interpreter with its libraries."""
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    import normdiag.observe.onnx  # noqa: F401

    before = _peak()
    run = (plain_run if kind == "plain" else observed_run)(path, _images(batch, image))
    for _ in range(MEMORY_BATCHES):
        run()
    return _peak() - before


def table(costs: Sequence[Cost]) -> str:
    """The costs as a markdown table."""
    lines = [
        "| net | two plain runs, s | observe, s | ratio (quartiles) | plain peak, MB | observe peak, MB | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in costs:
        memory = f"{c.plain_memory:.0f} | {c.observed_memory:.0f} | {c.observed_memory / c.plain_memory:.2f}"
        ratio = f"{c.ratio:.2f} ({c.low:.2f}-{c.high:.2f})"
        lines.append(f"| {c.net} | {c.plain:.2f} | {c.observed:.2f} | {ratio} | {memory} |")
    return "\n".join(lines)


def _images(batch: int, image: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, 3, image, image)).astype(np.float32)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _peak() -> float:
    # Not getrusage: its peak is handed down from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return float(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=DEFAULT_NETS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep the exported files here")
    parser.add_argument("--memory", choices=("plain", "observed"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        print(memory_probe(args.memory, Path(args.nets[0]), args.batch, args.image))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(table([_cost(name, folder, args.batch, args.image, args.rounds) for name in args.nets]))


def _cost(name: str, folder: Path, batch: int, image: int, rounds: int) -> Cost:
    path = folder / f"{name}.onnx"
    if not path.exists():
        export(name, path, batch, image)
    cost = compare(name, path, batch, image, rounds)
    memory = [peak_memory(kind, path, batch, image) for kind in ("plain", "observed")]
    return Cost(name, cost.plain, cost.observed, cost.ratio, cost.low, cost.high, memory[0], memory[1])


if __name__ == "__main__":
    main()
