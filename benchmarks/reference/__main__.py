"""Wrong inputs to models without running statistics: `python -m benchmarks.reference [development | held-out]`.

Each is held against a profile of 1000 training samples. A wrong input counts where it costs more than 2 points of the
accuracy on 500 samples; it is found where the verdict is a problem because of the reference (ND309). The first cause
is judged: it, or one of its alternatives, is one that was planted. Right data is 500 held-out samples, and three draws
each of 256, 128, 64 and 32 of them: any finding there is a false alarm. Limits are set on the development half alone.
Networks are cached in benchmarks/.cache. Minutes on one core; seeded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

import normdiag
from benchmarks.diagnosis.inputs import input_faults
from benchmarks.diagnosis.score import COSTS
from benchmarks.reference.subjects import Referenced, accuracy_on, names, referenced
from normdiag.rules.nd309_reference import reference_drift

SEEN = 256
DRAWS = (256, 128, 64, 32)


@dataclass(frozen=True)
class Outcome:
    """One wrong input: what it costs, whether it was found, what was named, and whether that is right."""

    subject: str
    kind: str
    costs: float
    found: bool
    named: tuple[str, ...]
    first_right: bool
    any_right: bool
    drift: float


def inspected(made: Referenced, x: np.ndarray) -> normdiag.Report:
    return normdiag.inspect(made.model, x, reference=made.profile, rules=[reference_drift])


def wrong_inputs(made: Referenced) -> Iterator[Outcome]:
    """Those that cost accuracy."""
    subject = made.subject
    right = accuracy_on(made, subject.x().numpy(), subject.test.labels)
    for case in input_faults(subject):
        x = subject.x(case.fed.stored, case.recipe).numpy()
        costs = right - accuracy_on(made, x, case.fed.labels)
        if costs <= COSTS:
            continue
        report = inspected(made, x[:SEEN])
        first = report.diagnosis[0] if report.diagnosis else None
        named = () if first is None else (first.cause, *first.alternatives)
        assert report.reference is not None
        yield Outcome(
            subject.name,
            f"{case.kind} {case.strength}".strip(),
            costs,
            report.verdict == "problem",
            named,
            bool(named) and named[0] in case.causes,
            bool(set(named) & set(case.causes)),
            max(each.drift.lower for each in report.reference.points),
        )


def right_data(made: Referenced) -> Iterator[tuple[int, bool]]:
    """How many samples, and whether there was an alarm."""
    x, rng = made.subject.x().numpy(), np.random.default_rng(0)
    draws = [(len(x), np.arange(len(x)))] + [(n, rng.permutation(len(x))[:n]) for n in DRAWS for _ in range(3)]
    for count, chosen in draws:
        yield count, bool(inspected(made, x[chosen]).findings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("half", nargs="?", choices=("development", "held-out"), default="development")
    parser.add_argument("--only", action="append", help="this network alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Outcome] = []
    alarms: list[tuple[int, bool]] = []
    print(
        "| network | accuracy | wrong inputs that cost > 2 points | found | cause right | right data | false alarms |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in given.only or names(given.half):
        started, made = time.perf_counter(), referenced(name)
        own, quiet = list(wrong_inputs(made)), list(right_data(made))
        rows, alarms = rows + own, alarms + quiet
        subject = made.subject
        right = accuracy_on(made, subject.x().numpy(), subject.test.labels)
        print(
            f"| {name} | {right:.1f} | {_counts(own)} | {len(quiet)} | {sum(fired for _, fired in quiet)} |", flush=True
        )
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print(f"| all | | {_counts(rows)} | {len(alarms)} | {sum(fired for _, fired in alarms)} |")
    for each in rows:
        if not (each.found and each.any_right):
            print(f"- {each.subject}: {each.kind}, {each.costs:.1f} points, drift {each.drift:.2f}, named {each.named}")


def _counts(rows: list[Outcome]) -> str:
    found = [each for each in rows if each.found]
    first, either = sum(each.first_right for each in found), sum(each.any_right for each in found)
    return f"{len(rows)} | {len(found)} | {first}, with alternatives {either}"


if __name__ == "__main__":
    main()
