"""normdiag.recalibrate beside fvcore and torch: error against float64, time, memory, and what each refuses."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.nets import calibrated
from tests.nets.resnet import resnet50
from tests.recalibration.references import largest_error, population

Batches = Sequence[Any]
ROUNDS = 3
BATCH = 16
# Images of so many pixels a side, in so many batches.
SIZES = ((224, 2), (112, 4))


def normdiag_tool(net: nn.Module, batches: Batches) -> None:
    import normdiag

    normdiag.recalibrate(net, batches, in_place=True, options=normdiag.RecalibrateOptions(holdout=0.0))


def fvcore_tool(net: nn.Module, batches: Batches) -> None:
    from fvcore.nn.precise_bn import update_bn_stats

    net.train()
    update_bn_stats(net, batches, len(batches))
    net.eval()


def torch_tool(net: nn.Module, batches: Batches) -> None:
    torch.optim.swa_utils.update_bn(batches, net)
    net.eval()


TOOLS: dict[str, Callable[[nn.Module, Batches], None]] = {
    "normdiag": normdiag_tool,
    "fvcore update_bn_stats": fvcore_tool,
    "torch update_bn": torch_tool,
}


def calibrated_resnet50() -> nn.Module:
    torch.manual_seed(0)
    return calibrated(resnet50())


def images(sizes: Sequence[int], side: int) -> list[Tensor]:
    torch.manual_seed(1)
    return [1.5 * torch.randn(n, 3, side, side) + 0.5 for n in sizes]


def plain_forward(net: nn.Module, batches: Batches) -> None:
    with torch.no_grad():
        for x in batches:
            net(x)


def seconds(work: Callable[[nn.Module, Batches], None], net: nn.Module, batches: Batches) -> float:
    start = time.process_time()
    work(net, batches)
    return time.process_time() - start


def costs(side: int, count: int) -> None:
    """Processor time in units of one plain forward over the data, in turn; peak memory in processes of their own."""
    net, batches = calibrated_resnet50(), images([BATCH] * count, side)
    works = {"forward": plain_forward, **TOOLS}
    taken: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work(copy.deepcopy(net), batches[:1])  # imports and first allocations
    for _ in range(ROUNDS):
        for name, work in works.items():
            taken[name].append(seconds(work, copy.deepcopy(net), batches))
    print(f"\nResNet50, {count} batches of {BATCH} images of {side}x{side}, one thread, medians of {ROUNDS} rounds.\n")
    print("| tool | error | time, of one forward | peak memory over a forward's, MiB |\n|---|---|---|---|")
    expected, base = population(net, batches), _peak("forward", side, count)
    for name, work in TOOLS.items():
        repaired = copy.deepcopy(net)
        work(repaired, batches)
        ratio = median(a / b for a, b in zip(taken[name], taken["forward"], strict=True))
        more = _peak(name, side, count) - base
        print(f"| {name} | {error(repaired, expected):.1e} | {ratio:.2f} | {more:+.0f} |", flush=True)


def error(net: nn.Module, expected: dict[str, Any]) -> float:
    """The largest of any channel: of the mean in standard deviations, of the variance relative to itself."""
    found = {name: dict(net.named_modules())[name] for name in expected}
    pairs = {n: (m.running_mean.double().numpy(), m.running_var.double().numpy()) for n, m in found.items()}
    return max(largest_error(pairs[name], expected[name]) for name in expected)


def _peak(name: str, side: int, count: int) -> float:
    arguments = [sys.executable, "-m", "benchmarks.recalibrate_tools", name, str(side), str(count)]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()[-1])


def probe(name: str, side: int, count: int) -> None:
    work = {"forward": plain_forward, **TOOLS}[name]
    for module in ("normdiag.commands.recalibrate", "normdiag.recalibration.pytorch", "fvcore.nn.precise_bn"):
        __import__(module)
    torch.set_num_threads(1)
    work(resnet50().eval(), images([BATCH] * count, side))
    status = Path("/proc/self/status").read_text()  # the maximum of getrusage is the parent's, if that was larger
    print(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024)


class Small(nn.Module):
    """A net to be made odd in one way at a time."""

    def __init__(self, *, twice: bool = False, drop: float = 0.0) -> None:
        super().__init__()
        self.twice = twice
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.drop = nn.Dropout(drop)

    def forward(self, image: Tensor, scale: Tensor | None = None) -> Tensor:
        x = self.drop(torch.relu(self.norm(self.conv(image if scale is None else image * scale))))
        x = self.norm2(self.conv2(x))
        return self.norm2(self.conv2(x)) if self.twice else x


def small(**options: Any) -> Small:
    torch.manual_seed(0)
    return Small(**options).eval()


def scaled(batches: Batches) -> list[dict[str, Tensor]]:
    return [{"image": x, "scale": torch.full((len(x), 1, 1, 1), 2.0)} for x in batches]


def oddities() -> None:
    """Where the error stays below 1e-5: yes; else the error, or what is raised."""
    even = images([32, 32, 32], 12)
    cases: dict[str, tuple[nn.Module, Batches, Any]] = {
        "plain": (small(), even, None),
        "dropout": (small(drop=0.5), even, None),
        "short last batch": (small(), images([32, 32, 17], 12), None),
        "images of two sizes": (small(), [*images([32], 12), *images([32], 20)], None),
        "a layer that runs twice": (small(twice=True), even, None),
        "inputs by name": (small(), scaled(even), lambda net, b: net(b["image"].double(), b["scale"].double())),
        "bfloat16": (small().bfloat16(), [x.bfloat16() for x in even], None),
        "TorchScript": (torch.jit.script(small()), even, None),
        "momentum None": (_cumulative(), even, None),
    }
    print("\n| case | " + " | ".join(TOOLS) + " |\n|---|" + "---|" * len(TOOLS))
    for name, (net, batches, call) in cases.items():
        plain = small(twice=getattr(net, "twice", False)) if name == "TorchScript" else net
        expected = population(plain, batches, call)
        cells = [_cell(work, net, batches, expected, 2e-2 if name == "bfloat16" else 1e-5) for work in TOOLS.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _cumulative() -> Small:
    net = small()
    net.norm.momentum = net.norm2.momentum = None
    return net


def _cell(work: Any, net: nn.Module, batches: Batches, expected: dict[str, Any], enough: float) -> str:
    repaired = copy.deepcopy(net)
    try:
        work(repaired, batches)
    except Exception as failure:
        return f"fails: {' '.join(str(failure).split())[:60] or type(failure).__name__}"
    found = error(repaired, expected)
    return "yes" if found < enough else f"off by {found:.1g}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        probe(sys.argv[1], *map(int, sys.argv[2:]))
    else:
        torch.set_num_threads(1)
        for size in SIZES:
            costs(*size)
        oddities()
