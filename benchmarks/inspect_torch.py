"""What watching a PyTorch model costs: `python -m benchmarks.inspect_torch [--repeats 7] [--one-thread] [net ...]`.

Time: `normdiag.inspect(net, batches)`, whole, on two batches of 16 images of 224 x 224, over the bare forwards that it
needs: one eval and one batch-statistics forward of the model as a user would run it (NCHW); one eval forward alone
without BatchNorm; one more where something drifts, so that pass C ran. In turn in one process; median ratios.
The second figure leaves out the rules on the graph (ND2xx): their export takes as long for one sample as for many.
With --one-thread it is processor time of one thread, which other work on the machine hardly disturbs; with several
threads, waiting for each other on busy cores is most of what the clock shows, of the floor as of the observation.
Memory (--memory): peak of resident memory of a process that observes, against that of one that runs the floor.

Nets are those of benchmarks/nets.py and, where timm is installed, timm's.
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

import normdiag
from benchmarks.nets import NETS, calibrated
from normdiag.records import Report
from normdiag.rules import RULES

SHAPE = (16, 3, 224, 224)
BATCHES = 2
CHEAP = tuple(rule for rule in RULES if not rule.needs_graph)


def build(name: str) -> nn.Module:
    """A net with random weights, whose running statistics are those of as many images as it will see."""
    torch.manual_seed(0)
    if name in NETS:
        return calibrated(NETS[name](), shape=(2 * SHAPE[0], *SHAPE[1:]))
    import timm

    return calibrated(timm.create_model(name), shape=(2 * SHAPE[0], *SHAPE[1:]))


def norms_of(net: nn.Module) -> list[_BatchNorm]:
    return [module for module in net.modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
def floor(net: nn.Module, batches: list[Tensor], *, recalibrated: bool) -> None:
    """The forwards that any comparison of stored and batch statistics needs."""
    norms = norms_of(net)
    net.eval()
    for x in batches * (2 if recalibrated else 1):
        net(x)
    for norm in norms:
        norm.train()
        norm.momentum = 0.0
    for x in batches if norms else ():
        net(x)
    net.eval()


def measured(name: str) -> tuple[nn.Module, list[Tensor]]:
    """A net and its data."""
    images = torch.randn((BATCHES * SHAPE[0], *SHAPE[1:]), generator=torch.Generator().manual_seed(1))
    return build(name), list(images.split(SHAPE[0]))


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    run()
    return clock() - start


def ran_again(report: Report) -> bool:
    """Whether pass C ran."""
    return report.recalibration is not None


def time_ratios(name: str, repeats: int, clock: Callable[[], float]) -> tuple[float, float, float, bool]:
    """Median seconds of the floor, the median ratios with and without the graph, and whether pass C ran."""
    net, batches = measured(name)
    again = ran_again(normdiag.inspect(net, batches))  # and this warms up
    rows = []
    for _ in range(repeats):
        bare = seconds(lambda: floor(net, batches, recalibrated=again), clock)
        whole = seconds(lambda: normdiag.inspect(net, batches), clock)
        rows.append((bare, whole / bare, seconds(lambda: normdiag.inspect(net, batches, rules=CHEAP), clock) / bare))
    bare, whole, cheap = (median(column) for column in zip(*rows, strict=True))
    return bare, whole, cheap, again


def peak(name: str, what: str) -> float:
    """Peak resident MiB of a fresh process that runs the floor or the observation."""
    command = [sys.executable, "-m", "benchmarks.inspect_torch", "--peak", what, name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_for_peak(name: str, what: str) -> None:
    net, batches = measured(name)
    if what == "floor":
        floor(net, batches, recalibrated=False)
    else:
        normdiag.inspect(net, batches, rules=CHEAP)
    # Not getrusage: its peak is handed down from the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024)


def main() -> None:
    """Print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nets", nargs="*", default=list(NETS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--one-thread", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", choices=("floor", "observe"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        run_for_peak(options.nets[0], options.peak)
        return
    if options.one_thread:
        torch.set_num_threads(1)
    clock = time.thread_time if options.one_thread else time.perf_counter
    print("| net | floor, s | pass C | time ratio | without the graph |" + " peak ratio |" * options.memory)
    print("|---|---|---|---|---|" + "---|" * options.memory)
    for name in options.nets:
        bare, whole, cheap, again = time_ratios(name, options.repeats, clock)
        row = f"| {name} | {bare:.2f} | {'ran' if again else 'no'} | {whole:.2f} | {cheap:.2f} |"
        if options.memory:
            row += f" {peak(name, 'observe') / peak(name, 'floor'):.2f} |"
        print(row, flush=True)


if __name__ == "__main__":
    main()
