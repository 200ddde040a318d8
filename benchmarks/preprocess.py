"""Whether `preprocess` names the preparation that is right: images stored in many ways.

    python -m benchmarks.preprocess                  # the networks that no limit was set on
    python -m benchmarks.preprocess --nets resnet20 separable pre_activation     # those that limits were set on
    python -m benchmarks.preprocess --ways JPEG

The images are stored as they are, as data sets are wrongly or otherwise stored, and changed. Each time one
preparation, or several that do the same, give back what the network was trained on, or do with the changed images what
was done in training. The first answer is right, undecided (several that fit) or wrong, or nothing fits. Needs
../shared/real; networks are trained as those of benchmarks/diagnosis, and cached.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

import normdiag
from benchmarks.diagnosis.subjects import Subject
from benchmarks.preprocess_nets import UNSEEN, subject_of
from benchmarks.preprocess_ways import WAYS, Stored, Way, the_same
from normdiag.data.preprocess import prepare
from normdiag.data.recipe import parse_recipe
from normdiag.records.preparation import Preparations

SAMPLES = 128
VERDICTS = ("right", "undecided", "undecided, without it", "nothing fits", "wrong")


@dataclass(frozen=True)
class Answer:
    """What was named for one way of storing, and what that is worth."""

    net: str
    way: str
    named: tuple[str, ...]
    verdict: str


def answers(net: Subject, ways: Sequence[Way]) -> Iterator[Answer]:
    """One for each way of storing that there is for such images."""
    images = net.test.stored[:SAMPLES]
    for way in ways:
        if way.colour and images.ndim < 4:
            continue
        stored = way.store(images, net)
        right = [prepare(each, parse_recipe(net.recipe or "raw"), None) for each in way.right(images, stored)]
        found = normdiag.preprocess(net.copied(), stored).found
        named = found.fitting if found.best is None else (found.best,)
        answer = Answer(net.name, way.name, named, _verdict(found, stored, right))
        print(f"{net.name} | {way.name} | {answer.verdict} | {', '.join(named[:4])}", file=sys.stderr, flush=True)
        yield answer


def _verdict(found: Preparations, stored: Stored, right: Sequence[Stored]) -> str:
    listed = {each.option: each.listed for each in found.ranking}

    def fits(option: str) -> bool:
        made = prepare(stored, parse_recipe(option), None)
        return any(the_same(made, each, fitted=not listed[option]) for each in right)

    if found.best is not None:
        return "right" if fits(found.best) else "wrong"
    if not found.fitting:
        return "nothing fits"
    return "undecided" if any(map(fits, found.fitting)) else "undecided, without it"


def main() -> None:
    """Print the tables of docs/preprocess.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", nargs="+", default=list(UNSEEN))
    parser.add_argument("--ways", nargs="+", default=[""], help="only those whose name contains one of these")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    ways = [way for way in WAYS if any(part in way.name for part in given.ways)]
    rows: list[Answer] = []
    for name in given.nets:
        rows += answers(subject_of(name), ways)
    print(*_confusion(rows), sep="\n")


def _confusion(rows: Sequence[Answer]) -> Iterator[str]:
    yield f"| stored | {' | '.join(VERDICTS)} |\n|---|{'---|' * len(VERDICTS)}"
    for way in [*dict.fromkeys(each.way for each in rows), None]:
        counts = Counter(each.verdict for each in rows if way in (None, each.way))
        name = way or f"all, {len({each.net for each in rows})} networks"
        yield f"| {name} | {' | '.join(str(counts[each] or '') for each in VERDICTS)} |"


if __name__ == "__main__":
    main()
