"""What watching a PyTorch model costs: `python -m benchmarks.inspect_torch [--repeats 7] [--one-thread] [net ...]`.

Time: one observe() (both passes, all sums, the gap) against the floor of one batch-statistics forward plus one eval
forward of the bare model as a user would run it (NCHW), interleaved in one process; the median of the ratios. A model
without BatchNorm has no pass B, so that its floor, two eval forwards, is twice what it needs.
With --one-thread it is processor time of one thread, which other work on the machine hardly disturbs; with several
threads, waiting for each other on busy cores is most of what the clock shows, of the floor as of the observation.
Memory: peak of resident memory of a process that observes, against that of one that runs the floor.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.nets import NETS, calibrated
from normdiag.models.pytorch import module_layers
from normdiag.observe.pytorch import TorchRunner
from normdiag.records import Batch, Model, ModelInfo

SHAPE = (16, 3, 224, 224)


@torch.no_grad()
def floor(net: nn.Module, x: Tensor) -> None:
    """The two forwards that any comparison of batch and running statistics needs."""
    net.eval()
    net(x)
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 0.0
    net(x)
    net.eval()


def measured(name: str) -> tuple[Callable[[], None], Callable[[], object]]:
    """The floor and the whole observation of a net, ready to be timed."""
    torch.manual_seed(0)
    net = calibrated(NETS[name]())
    x = torch.randn(SHAPE)
    runner = TorchRunner(Model(ModelInfo(None, "module", "pytorch", None, None, None), module_layers(net), program=net))
    batch = Batch((x.numpy(),))
    return lambda: floor(net, x), lambda: runner.observe(batch)


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    run()
    return clock() - start


def time_ratio(name: str, repeats: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Median seconds of the floor, and the median ratio."""
    bare, observed = measured(name)
    pairs = [(seconds(bare, clock), seconds(observed, clock)) for _ in range(repeats + 1)][1:]
    return median(a for a, _ in pairs), median(b / a for a, b in pairs)


def peak(name: str, what: str, batches: int) -> float:
    """Peak resident MiB of a fresh process that runs the floor or the observation on some batches."""
    command = [sys.executable, "-m", "benchmarks.inspect_torch", "--peak", what, "--repeats", str(batches), name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_for_peak(name: str, what: str, batches: int) -> None:
    bare, observed = measured(name)
    for _ in range(batches):
        (bare if what == "floor" else observed)()
    # Not getrusage: its peak is handed down from the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024)


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", default=list(NETS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("--peak", choices=("floor", "observe"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        run_for_peak(options.nets[0], options.peak, options.repeats)
        return
    if options.one_thread:
        torch.set_num_threads(1)
    clock = time.thread_time if options.one_thread else time.perf_counter
    print("| net | floor, s | time ratio | peak of floor, MiB | peak ratio | peak ratio, 4 batches |")
    print("|---|---|---|---|---|---|")
    for name in options.nets:
        bare, ratio = time_ratio(name, options.repeats, clock)
        base, once, often = peak(name, "floor", 1), peak(name, "observe", 1), peak(name, "observe", 4)
        print(
            f"| {name} | {bare:.2f} | {ratio:.2f} | {base:.0f} | {once / base:.2f} | {often / base:.2f} |", flush=True
        )


if __name__ == "__main__":
    main()
