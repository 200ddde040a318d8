"""Planted faults and what the diagnosis makes of them: `python -m benchmarks.diagnosis [development | held-out]`.

Limits are set on the development half. A fault counts where it costs more than 2 points of accuracy. It is found where
the verdict is a problem; the first entry of the diagnosis is judged: its first layer, its cause (or one of at most two
alternatives), and its remedy, which is carried out. Networks and what was measured are cached in benchmarks/.cache;
`--fresh` measures again. Minutes per network on one core; seeded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from zlib import crc32

import torch

from benchmarks.diagnosis import tables
from benchmarks.diagnosis.case import Case
from benchmarks.diagnosis.deployments import deployment_faults
from benchmarks.diagnosis.examine import reach, seen, with_option
from benchmarks.diagnosis.healthy import quiet_runs
from benchmarks.diagnosis.inputs import input_faults
from benchmarks.diagnosis.networks import names, subject
from benchmarks.diagnosis.said import answer
from benchmarks.diagnosis.score import COSTS, Score, score
from benchmarks.diagnosis.statistics import statistics_faults
from benchmarks.diagnosis.subjects import Subject
from benchmarks.diagnosis.weights import weight_faults


def cases(model: Subject) -> Iterator[Case]:
    """All that is planted into one model."""
    yield from statistics_faults(model)
    yield from weight_faults(model)
    yield from input_faults(model)
    yield from deployment_faults(model)


def scores(name: str, given: argparse.Namespace) -> Iterator[Score]:
    """Of the faults of one network that cost accuracy."""
    started = time.perf_counter()
    model = subject(name)
    for case in islice(cases(model), crc32(name.encode()) % given.every, None, given.every):
        if given.fault and given.fault not in case.id:
            continue
        found = seen(case, fresh=given.fresh)
        if found.costs > COSTS:
            said = answer(found.report)
            yield score(found, said, said is not None, partial(with_option, case), reach(model))
    print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("half", nargs="?", choices=("development", "held-out"), default="development")
    parser.add_argument("--only", action="append", help="this network alone")
    parser.add_argument("--fault", help="only cases whose name contains this")
    parser.add_argument("--fresh", action="store_true", help="measure again what is cached")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="only every Nth case, each network from another on"
    )
    parser.add_argument("--alarms", action="store_true", help="false alarms of healthy models instead")
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen = given.only or names(given.half)
    if given.alarms:
        print(*tables.alarms([run for name in chosen for run in quiet_runs(subject(name))]), sep="\n")
        return
    judged = [each for name in chosen for each in scores(name, given)]
    for title, lines in (
        ("Figures", tables.figures(judged)),
        ("By kind of fault", tables.by_kind(judged)),
        ("Causes: planted by named", tables.confusion(judged)),
        ("Misses", tables.misses(judged)),
    ):
        print(f"\n## {title}\n", *lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
