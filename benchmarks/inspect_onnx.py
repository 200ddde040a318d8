"""Cost of inspecting an ONNX model: `normdiag.inspect(path, batches)`, whole, against plain runs in onnxruntime.

    python -m benchmarks.inspect_onnx [--batch 16] [--batches 8] [--rounds 7] [--image 224] [--one-thread] [net ...]

Plain are two runs of the same batches in a session that is there already, one run where the model has no BatchNorm, and
one more where something drifts, so that pass C ran. Both are timed in one process, in turn; the ratio is the median
over the rounds. With --one-thread it is processor time, with one thread for onnxruntime. Peak memory is that of a
fresh process for each, above what it held before its first run. Nets are those of benchmarks/nets.py and timm's.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from normdiag.records import Report

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
DEFAULT_NETS = ("resnet50", "densenet121", "mobilenet_v2", "vit_b")
MEMORY_BATCHES = 3
BATCHES = 8


@dataclass(frozen=True)
class Cost:
    """Median seconds, the median ratio with its quartiles, and peak memory in MB (nan: not measured)."""

    net: str
    runs: int
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
    if name in NETS:
        net = calibrated(NETS[name]()) if name != "vit_b" else NETS[name]().eval()
    else:
        import timm

        net = calibrated(timm.create_model(name), shape=(2 * batch, 3, image, image))
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


def plain_run(path: Path, batches: Sequence[np.ndarray], times: int = 1) -> Callable[[], object]:
    """Optimized runs of all batches as a user would have it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: [session.run(None, {name: x}) for x in batches * times]


def observed_run(path: Path, batches: Sequence[np.ndarray]) -> Callable[[], Report]:
    """The whole inspection."""
    import normdiag

    return lambda: normdiag.inspect(path, batches)


def one_thread() -> None:
    """Have onnxruntime use one thread in all sessions to come."""
    import onnxruntime

    plain = onnxruntime.SessionOptions

    def options() -> onnxruntime.SessionOptions:
        made = plain()
        made.intra_op_num_threads = 1
        return made

    onnxruntime.SessionOptions = options


def compare(name: str, path: Path, batches: list[np.ndarray], rounds: int, clock: Callable[[], float]) -> Cost:
    """Time both in turn."""
    observed = observed_run(path, batches)
    report = observed()  # which warms up
    runs = 1 + any(each.own is not None for each in report.layers) + (report.recalibration is not None)
    plain = plain_run(path, batches, runs)
    seconds = [(_seconds(plain, clock), _seconds(observed, clock)) for _ in range(rounds)]
    ratios = sorted(b / a for a, b in seconds)
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    plain_median, observed_median = (statistics.median(column) for column in zip(*seconds, strict=True))
    return Cost(name, runs, plain_median, observed_median, statistics.median(ratios), quartiles[0], quartiles[2])


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
    (plain_run if kind == "plain" else observed_run)(path, _images(batch, image, MEMORY_BATCHES))()
    return _peak() - before


def table(costs: Sequence[Cost]) -> str:
    """The costs as a markdown table."""
    lines = [
        "| net | plain runs | plain, s | inspect, s | ratio (quartiles) | plain peak, MB | inspect peak, MB | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for c in costs:
        memory = f"{c.plain_memory:.0f} | {c.observed_memory:.0f} | {c.observed_memory / c.plain_memory:.2f}"
        ratio = f"{c.ratio:.2f} ({c.low:.2f}-{c.high:.2f})"
        lines.append(f"| {c.net} | {c.runs} | {c.plain:.2f} | {c.observed:.2f} | {ratio} | {memory} |")
    return "\n".join(lines)


def _images(batch: int, image: int, batches: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal((batch, 3, image, image)).astype(np.float32) for _ in range(batches)]


def _seconds(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def _peak() -> float:
    # Not getrusage: its peak is handed down from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return float(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=DEFAULT_NETS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--one-thread", action="store_true", help="processor time, one thread, no memory")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="keep the exported files here")
    parser.add_argument("--memory", choices=("plain", "observed"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        print(memory_probe(args.memory, Path(args.nets[0]), args.batch, args.image))
        return
    if args.one_thread:
        one_thread()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(table([_cost(name, folder, args) for name in args.nets]))


def _cost(name: str, folder: Path, args: argparse.Namespace) -> Cost:
    path = folder / f"{name}.onnx"
    if not path.exists():
        export(name, path, args.batch, args.image)
    clock = time.process_time if args.one_thread else time.perf_counter
    cost = compare(name, path, _images(args.batch, args.image, args.batches), args.rounds, clock)
    if args.one_thread:
        return cost
    memory = [peak_memory(kind, path, args.batch, args.image) for kind in ("plain", "observed")]
    return replace(cost, plain_memory=memory[0], observed_memory=memory[1])


if __name__ == "__main__":
    main()
