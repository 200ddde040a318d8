"""Does `normdiag diff` find the layer where two models part, and the cause? `python -m benchmarks.diff`.

Forty planted pairs in both orders, and equal pairs of the sample models by both exporters and several operator sets, in
which nothing may be found.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import normdiag
from benchmarks.diff_faults import planted_pairs
from benchmarks.diff_heldout import held_out_pairs
from benchmarks.diff_pairs import PlantedPair, Source, cnn, digits, exported, mlp, program, transformer
from normdiag.records.diff import DiffReport


@dataclass(frozen=True)
class Found:
    """What `diff` said of a planted pair in one order."""

    name: str
    order: str
    layer: str
    right_layer: bool
    cause: str
    right_cause: bool


def judged(pair: PlantedPair, order: str, report: DiffReport) -> Found:
    """The answer beside the truth."""
    parting = None if report.on_data is None else report.on_data.parting
    layer = "none" if parting is None else f"{parting.a} | {parting.b}"
    right = parting is not None and bool({parting.a, parting.b} & set(pair.layers))
    cause = "none" if parting is None or parting.cause is None else parting.cause.cause
    return Found(pair.name, order, layer, right, cause, cause == pair.cause)


def run_pair(pair: PlantedPair) -> Iterator[Found]:
    """Both orders."""
    with tempfile.TemporaryDirectory() as folder:
        a, b = pair.make(Path(folder))
        for order, (one, two) in (("right, wrong", (a, b)), ("wrong, right", (b, a))):
            yield judged(pair, order, compared(one, two, pair.data()))


def compared(a: Source, b: Source, x: np.ndarray) -> DiffReport:
    """Both on the data in batches of 16."""
    return normdiag.diff(a, b, x, data_options=normdiag.DataOptions(batch_size=16))


def equal_pairs(folder: Path) -> Iterator[tuple[str, Source, Source]]:
    """The sample models beside their exports."""
    nets = {
        "cnn": cnn(),
        "cnn group": cnn("group"),
        "cnn instance": cnn("instance"),
        "cnn instance_stats": cnn("instance_stats"),
        "mlp batch": mlp(),
        "mlp none": mlp("none"),
        "transformer layer": transformer(),
        "transformer rms": transformer("rms"),
    }
    for name, net in nets.items():
        yield f"{name}, torch.export", net, program(net, folder / f"{name}.pt2", digits())
        for exporter in ("dynamo", "script14", "script17", "script20"):
            path = folder / f"{name} {exporter}.onnx"
            try:
                exported(net, path, digits(), exporter)
            except Exception as error:
                print(f"  not exported: {name} by {exporter}: {str(error).splitlines()[0][:80]}", file=sys.stderr)
                continue
            yield f"{name}, {exporter}", net, path


def main() -> None:
    """Print every wrong answer, and the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="pairs whose name has this in it")
    parser.add_argument("--all", action="store_true", help="print right answers too")
    parser.add_argument("--held-out", action="store_true", help="the same faults on other networks")
    parser.add_argument("--equal", action="store_true", help="only the equal pairs")
    options = parser.parse_args()
    pairs = tuple(held_out_pairs()) if options.held_out else planted_pairs()
    chosen = [pair for pair in pairs if not options.only or options.only in pair.name]
    if options.equal:
        _report_equal()
        return
    found = []
    for each in (each for pair in chosen for each in run_pair(pair)):
        found.append(each)
        if options.all or not (each.right_layer and each.right_cause):
            answers = f"{each.layer} [{each.right_layer}], {each.cause} [{each.right_cause}]"
            print(f"  {each.name} ({each.order}): {answers}", flush=True)
    layers, causes = sum(each.right_layer for each in found), sum(each.right_cause for each in found)
    print(f"{len(chosen)} pairs in both orders: first layer {layers} of {len(found)}, cause {causes} of {len(found)}")
    if not options.only and not options.held_out:
        _report_equal()


def _report_equal() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tried = alarms = 0
        for name, a, b in equal_pairs(Path(folder)):
            for one, two in ((a, b), (b, a)):
                report = compared(one, two, digits())
                tried, alarms = tried + 1, alarms + (not report.equal)
                if not report.equal:
                    print(f"  differs: {name}: {report.changed[:2]} {report.on_data and report.on_data.parting}")
    print(f"{tried} equal pairs: {alarms} with a difference")


if __name__ == "__main__":
    main()
