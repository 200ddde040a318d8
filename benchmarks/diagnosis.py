"""Planted faults, and how many of them `normdiag check` finds: `python -m benchmarks.diagnosis [subject ...]`.

Healthy models get one fault each, in one layer or in all, at several strengths. A fault that takes at most 2 points of
accuracy is counted apart: it may or may not be found. Found is a warning or error that the healthy model does not
have; its layer is named where some finding names a faulty one, and first where no other layer comes before.
docs/diagnosis.md holds what it prints. Half an hour on one core; seeded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context

import torch
from torch import nn

from benchmarks import diagnosis_faults as faults
from benchmarks.diagnosis_case import Case, Result, Verdict, examine, healthy
from benchmarks.diagnosis_inputs import input_faults
from benchmarks.diagnosis_statistics import statistics_faults
from benchmarks.diagnosis_subjects import Subject, subjects, without_batch_norm

SUMMARY = (
    *("fault", "strength", "cases", "cost > 2 points", "found", "layer named", "named first"),
    *(".onnx, no data", "weights, no data", "harmless, yet found"),
)


def cases(subject: Subject) -> Iterator[Case]:
    """All that is planted into one model."""
    if subject.batch_norms:
        yield from statistics_faults(subject)
        yield from faults.non_finite(subject)
        yield from faults.dead(subject)
        yield from faults.half(subject)
    yield from input_faults(subject)
    if subject.name == "digits_cnn":
        yield from faults.training_mode(subject)
        yield from faults.dropout(subject)
        yield from faults.dropping(subject)
    if "mlp" in subject.name:
        yield from faults.saturation(subject)
    if "transformer" in subject.name:
        yield from faults.half_tokens(subject)


def summary(results: Sequence[Result]) -> Iterator[str]:
    """One row for each fault and strength: of those that cost accuracy, how many are found and rightly placed."""
    yield f"| {' | '.join(SUMMARY)} |"
    yield "|---" * len(SUMMARY) + "|"
    groups: dict[tuple[str, str], list[Result]] = {}
    for each in results:
        groups.setdefault((each.case.fault, each.case.strength), []).append(each)
    for (fault, strength), group in groups.items():
        costly = [each for each in group if each.costs]
        found = sum(each.data.found for each in costly)
        named, first = sum(each.data.named for each in costly), sum(each.data.first for each in costly)
        static = [_share([each.graph for each in costly]), _share([each.weights for each in costly])]
        harmless = f"{sum(e.data.found for e in group if not e.costs)} of {len(group) - len(costly)}"
        cells = [fault, strength, len(group), len(costly), found, named, first, *static, harmless]
        yield "| " + " | ".join(map(str, cells)) + " |"


def totals(results: Sequence[Result]) -> str:
    """One sentence on all that cost accuracy, wrong inputs to models without running statistics left aside."""
    judged = [each for each in results if "no running statistics" not in each.case.fault]
    costly = [each.data for each in judged if each.costs]
    found, named = sum(each.found for each in costly), sum(each.named for each in costly)
    return (
        f"Of {len(costly)} faults that cost more than 2 points, {found} are found, the layer is named in {named} and "
        f"named first in {sum(each.first for each in costly)}; {len(judged) - len(costly)} cost less."
    )


def _share(verdicts: Iterable[Verdict | None]) -> str:
    looked = [each for each in verdicts if each is not None]
    return f"{sum(each.found for each in looked)} of {len(looked)}" if looked else "-"


def misses(results: Iterable[Result]) -> Iterator[str]:
    """Each fault that costs accuracy and is not found with data, or whose layer is not named."""
    yield "| model | fault | strength | place | right, % | with the fault, % | what was said instead |"
    yield "|---|---|---|---|---|---|---|"
    for each in results:
        if each.costs and not (each.data.found and each.data.named):
            case, said = each.case, "; ".join(text[:110] for text in each.data.texts[:2]) or "nothing"
            cells = [
                case.subject.name,
                case.fault,
                case.strength,
                case.place,
                f"{each.before:.1f}",
                f"{each.after:.1f}",
            ]
            yield "| " + " | ".join([*cells, said.replace("|", "\\|")]) + " |"


def every_case(results: Iterable[Result]) -> Iterator[str]:
    yield "| model | fault | strength | place | right, % | with the fault, % | with data | named | .onnx | weights |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for each in results:
        case = each.case
        ways = [" ".join(way.rules) if way is not None else "-" for way in (each.data, each.graph, each.weights)]
        cells = [case.subject.name, case.fault, case.strength, case.place, f"{each.before:.1f}", f"{each.after:.1f}"]
        cells += [ways[0], "first" if each.data.first else "yes" if each.data.named else "no", *ways[1:]]
        yield "| " + " | ".join(cells) + " |"


def healthy_rows(subject: Subject, *, with_data: bool) -> str:
    """What is found on the healthy model."""
    ways = [*["data"] * with_data, *["graph"] * bool(subject.batch_norms), "weights"]
    counts = []
    for way in ways:
        found = healthy(subject, way)
        listed = ", ".join(f"{each.rule} {each.severity}" for each in found if each.severity != "info") or "none"
        errors = sum(each.severity == "error" for each in found)
        counts.append(f"{way}: {errors} errors; warnings: {listed}; {sum(e.severity == 'info' for e in found)} info")
    return f"| {subject.name} | " + " / ".join(counts) + " |"


def examine_all(given: argparse.Namespace, name: str) -> tuple[str, list[Result]]:
    """The row of the healthy model of this name, and the results of its cases."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    (subject,) = (each for each in (*subjects(given.images), *without_batch_norm()) if each.name == name)
    row = healthy_rows(subject, with_data=not given.no_data)
    chosen = (case for case in cases(subject) if not given.fault or given.fault in case.fault)
    results = [named_only(examine(case, with_data=not given.no_data)) for case in chosen]
    print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return row, results


def named_only(result: Result) -> Result:
    """Without the weights and images, which are large and need not leave the process."""
    case = result.case
    subject = replace(case.subject, module=nn.Identity(), images=None, training=None, foreign=None)
    return replace(result, case=Case(subject, case.fault, case.strength, case.place, case.layers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*")
    parser.add_argument("--images", type=int, default=200, help="of CIFAR-10; twice as many of MNIST")
    parser.add_argument("--fault", help="only faults whose name contains this")
    parser.add_argument("--no-data", action="store_true", help="only what the files alone say")
    parser.add_argument("--all", action="store_true", help="a row for every case")
    parser.add_argument("--jobs", type=int, default=1, help="models at the same time, a process each")
    given = parser.parse_args()
    names = [each.name for each in (*subjects(given.images), *without_batch_norm())]
    chosen = [name for name in names if not given.subjects or name in given.subjects]
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        seen = list(pool.map(partial(examine_all, given), chosen))
    rows, results = [row for row, _ in seen], [each for _, found in seen for each in found]
    for title, lines in (
        ("Healthy models", ["| model | findings |", "|---|---|", *rows]),
        ("Recall", [totals(results), "", *summary(results)]),
        ("Misses", misses(results)),
        *((("Every case", every_case(results)),) if given.all else ()),
    ):
        print(f"\n## {title}\n", *lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
