"""The scores as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.diagnosis.healthy import Quiet
from benchmarks.diagnosis.score import Answer, Score, share


def figures(scores: Sequence[Score]) -> Iterator[str]:
    """The four shares, and how many alternatives an entry has."""
    alternatives = [len(each.answer.alternatives) for each in scores if each.answer]
    kinds = len({each.seen.kind for each in scores})
    yield row("faults that cost more than 2 points", f"{len(scores)} of {kinds} kinds")
    yield row("---", "---")
    yield row("found", share([each.found for each in scores]))
    yield row("right layer first", share([each.first for each in scores if each.first is not None]))
    yield row("cause right or among the alternatives", share([each.cause for each in scores]))
    yield row("remedy restores, or is rightly none", share([each.remedy for each in scores]))
    yield row(
        "alternatives, mean and most",
        f"{sum(alternatives) / max(len(alternatives), 1):.2f}, {max(alternatives, default=0)}",
    )


def by_kind(scores: Sequence[Score]) -> Iterator[str]:
    yield row("kind of fault", "cases", "found", "layer first", "cause", "remedy")
    yield row(*["---"] * 6)
    for kind in dict.fromkeys(each.seen.kind for each in scores):
        own = [each for each in scores if each.seen.kind == kind]
        firsts = [each.first for each in own if each.first is not None]
        counts = (sum(e.found for e in own), sum(firsts), sum(e.cause for e in own), sum(e.remedy for e in own))
        yield row(kind, len(own), *counts)


def confusion(scores: Iterable[Score]) -> Iterator[str]:
    """How often each cause was named first for each that was planted."""
    counts = Counter((each.seen.causes[0], each.answer.cause if each.answer else "nothing") for each in scores)
    named = sorted({cause for _, cause in counts})
    yield row("planted", *(each or "no cause" for each in named))
    yield row(*["---"] * (len(named) + 1))
    for planted in sorted({cause for cause, _ in counts}):
        yield row(planted, *(counts[planted, cause] or "" for cause in named))


def misses(scores: Iterable[Score]) -> Iterator[str]:
    """Each fault of which something was not right."""
    yield row("model", "fault", "strength", "place", "before", "with", "after the remedy", "said", "wrong")
    yield row(*["---"] * 9)
    for each in scores:
        rights = {"found": each.found, "layer": each.first is not False, "cause": each.cause, "remedy": each.remedy}
        wrong = [word for word, right in rights.items() if not right]
        if wrong:
            seen, figures = each.seen, (each.seen.before, each.seen.after, each.restored)
            names = (seen.subject, seen.kind, seen.strength, seen.place)
            yield row(*names, *(f"{value:.1f}" for value in figures), _said(each.answer), ", ".join(wrong))


def _said(answer: Answer | None) -> str:
    if answer is None:
        return "nothing"
    causes = " or ".join((answer.cause or "no cause", *answer.alternatives))
    return f"{causes} at {answer.layers[0] if answer.layers else '-'}: {answer.action} {answer.option or ''}".strip()


def alarms(runs: Sequence[Quiet]) -> Iterator[str]:
    """Of healthy models: how many runs have errors and warnings, and each of them."""
    yield row("runs", "count", "with errors", "with warnings")
    yield row(*["---"] * 4)
    for what, chosen in (
        ("healthy models on right data", [each for each in runs if not each.skewed]),
        ("skewed data, other data without loss, frozen fine-tuning", [each for each in runs if each.skewed]),
    ):
        errors = sum(bool(_severe(each, "error")) for each in chosen)
        yield row(what, len(chosen), errors, sum(bool(_severe(each, "warning")) for each in chosen))
    yield ""
    yield row("model", "run", "right, %", "said")
    yield row(*["---"] * 4)
    for each in runs:
        said = [*_severe(each, "error"), *(_severe(each, "warning") if not each.skewed else ())]
        if said:
            yield row(each.subject, each.what, f"{each.accuracy:.1f}", "; ".join(said))


def _severe(run: Quiet, severity: str) -> list[str]:
    found = [each for each in run.report.findings if each.severity == severity]
    return list(dict.fromkeys(f"{each.rule} {each.severity}" for each in found))


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
