"""The sections of the fold report: what was asked, what came of it, each fold, each refusal, the proof, the ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records import FoldReport, FoldStep, PointError, RangeSpread, Verification
from normdiag.render.layout import BLANK, Line, Span
from normdiag.render.parts.abridge import choose, left_out, severities
from normdiag.render.parts.header import model_rows
from normdiag.render.parts.prose import heading, pairs, prose
from normdiag.render.parts.summary import findings
from normdiag.render.parts.tables import Column, Rows, name_table
from normdiag.render.view import KIND_WORDS, View
from normdiag.render.words import count, listed, number, percent, size_in_bytes

POINTS = 5
KINDS = {kind: words for kind, (words, _) in KIND_WORDS.items()} | {"scale_shift": "scale and shift"}


def header(report: FoldReport, view: View) -> Iterator[Line]:
    """The model and where the result went."""
    target = view.safe(report.written) if report.written else "nothing was written"
    yield (Span("normdiag fold", "bold"),)
    yield from pairs([row for row in (*model_rows(report.model, view), ("output", target)) if row[1]], view)


def summary(report: FoldReport, view: View) -> Iterator[Line]:
    """Findings, then what was folded, proven and gained, in a line each."""
    yield from heading("Summary", view)
    if report.findings:
        yield from findings(report.findings, view)
        yield BLANK
    yield from prose(_outcome(report), view, style="green" if not report.plan.refusals else "")
    checked = report.verification
    if checked is not None:
        yield from prose(_verdict(checked), view, style="green" if checked.passed else "bold red")
    latency = _latency(checked) if report.plan.steps else ""
    for fact in (_size(report), latency, _copies(report)):
        if fact:
            yield from prose(fact, view)


def _outcome(report: FoldReport) -> str:
    plan = report.plan
    gone = [step for step in plan.steps if step.kind != "scale_shift"]
    plain = len(plan.steps) - len(gone)
    if not plan.norms and not plan.steps:
        return "No norm to fold was found."
    done = "folded" if report.carried_out else "can be folded"
    head = f"{len(gone):,} of {count(plan.norms, 'norm')} {done}"
    stay = f", {len(plan.refusals):,} {'stays' if len(plan.refusals) == 1 else 'stay'}" if plan.refusals else ""
    also = f"; {plain:,} plain {'scale or shift' if plain == 1 else 'scales or shifts'} as well" if plain else ""
    return f"{head}{stay}{also}."


def _verdict(checked: Verification) -> str:
    runs = f"{count(checked.runs, 'run')}, {count(checked.samples, 'sample')}, {checked.source}"
    if checked.passed:
        return (
            f"Proven: the output differs by {number(checked.error)} of its largest value at most; rounding explains up "
            f"to {number(checked.bound)} ({runs})."
        )
    return (
        f"NOT PROVEN: the output differs by {number(checked.error)} of its largest value, and rounding explains no "
        f"more than {number(checked.bound)} ({runs})."
    )


def _size(report: FoldReport) -> str:
    if report.size_before is None or report.size_after is None:
        return ""
    return f"Parameters: {size_in_bytes(report.size_before)} before, {size_in_bytes(report.size_after)} after."


def _latency(checked: Verification | None) -> str:
    if checked is None or checked.latency is None:
        return ""
    before, after = 1e3 * checked.latency.before, 1e3 * checked.latency.after
    change = percent(abs(1.0 - after / before)) + (" less" if after < before else " more")
    said = change if checked.latency.differs else "no more than noise"
    return f"Latency, without runtime optimizations: {number(before)} ms before, {number(after)} ms after ({said})."


def _copies(report: FoldReport) -> str:
    copies = report.plan.copies
    if not copies:
        return ""
    got = "got" if report.carried_out else "would get"
    total = size_in_bytes(sum(copied.bytes for copied in copies))
    shared = listed(dict.fromkeys(f"{c.layer} (shared with {listed(c.shared_with, 2)})" for c in copies))
    return f"{count(len(copies), 'shared parameter')} {got} a copy, {total} in all: {shared}."


def folded(report: FoldReport, view: View) -> Iterator[Line]:
    """One row for each fold."""
    steps = report.plan.steps
    if not steps:
        return
    choice = choose([None] * len(steps), [None] * len(steps), view)
    shown = [steps[index] for index in choice.shown]
    yield from heading("Folded" if report.carried_out else "Would fold", view)
    columns = [
        Column("kind", [KINDS[step.kind] for step in shown], keep=1, right=False),
        Column("into", [_into(step, view) for step in shown], keep=2, right=False),
    ]
    if any(step.through for step in shown):
        columns.append(
            Column("through", [listed(map(view.name, step.through), 2) for step in shown], keep=0, right=False)
        )
    rows = Rows(count(len(steps), "fold"), [view.name(step.norm) for step in shown], [None] * len(shown))
    yield from name_table(rows, columns, view)
    if choice.hidden:
        yield from prose(left_out(choice, "fold", view), view, style="dim")


def _into(step: FoldStep, view: View) -> str:
    where = {"before": "", "after": " behind it", "norm": ", a norm"}[step.direction]
    rest = "" if step.whole else " (gamma and beta)"
    shift = ", its shift stays as an Add" if step.shift_stays else ""
    return listed(map(view.name, step.into), 2) + where + rest + shift


def stays(report: FoldReport, view: View) -> Iterator[Line]:
    """Each refusal with its reason."""
    refusals = report.plan.refusals
    if not refusals:
        return
    yield from heading("Stays", view)
    choice = choose([None] * len(refusals), [None] * len(refusals), view)
    shown = [refusals[index] for index in choice.shown]
    for refusal in shown:
        yield from prose([Span(view.name(refusal.norm), "bold"), Span(f": {view.safe(refusal.reason)}")], view)
    if choice.hidden:
        yield from prose(left_out(choice, "norm", view), view, style="dim")


def proof(report: FoldReport, view: View) -> Iterator[Line]:
    """What the verification ran and found."""
    checked = report.verification
    if checked is None:
        return
    yield from heading("Proof", view, "differences as shares of the largest value of the tensor (docs/folding.md)")
    rows = [
        ("folded against original", f"{number(checked.error)} at output {view.name(checked.output)}"),
        ("rounding explains", f"{number(checked.bound)} ({checked.dtype}, {count(checked.depth, 'layer')} deep)"),
        *_float64(checked, view),
        ("inputs", _inputs(checked)),
    ]
    worst = checked.points if view.all_layers else checked.points[:POINTS]
    if worst:
        rows.append(("worst folds, error / bound", ", ".join(_point(point, view) for point in worst)))
    if checked.note:
        rows.append(("note", view.safe(checked.note)))
    yield from pairs(list(rows), view)


def _point(point: PointError, view: View) -> str:
    return f"{view.name(point.layer)} {number(point.relative)} / {number(point.bound)}"


def _float64(checked: Verification, view: View) -> Iterator[tuple[str, str]]:
    if checked.float64_error is None:
        if checked.float64_note:
            yield "against float64", f"not run: {view.safe(checked.float64_note)}"
        return
    own = (
        ""
        if checked.original_float64_error is None
        else f"; the original's own {number(checked.original_float64_error)}"
    )
    yield "folded against float64", f"{number(checked.float64_error)}{own}"


def _inputs(checked: Verification) -> str:
    sizes = ", ".join(map(str, checked.batch_sizes))
    magnitudes = f", magnitudes {', '.join(map(number, checked.magnitudes))}" if checked.magnitudes else ""
    batches = f", batches of {sizes}" if sizes else ""
    return f"{checked.source}: {count(checked.runs, 'run')}{batches}{magnitudes}"


def ranges(report: FoldReport, view: View) -> Iterator[Line]:
    """The weight ranges of the layers that took something up, worst after folding first."""
    listed_ranges = [each for each in report.ranges if each.channels > 1]
    if not listed_ranges:
        return
    legend = (
        "spread: largest over smallest range of an output channel; coarse: channels that one INT8 scale for the whole "
        "tensor leaves at most one level"
    )
    worst = severities(report.findings)
    ranks = [worst.get(each.layer) for each in listed_ranges]
    choice = choose(ranks, [each.coarse_after + each.spread_after * 1e-9 for each in listed_ranges], view)
    shown = [listed_ranges[index] for index in choice.shown]
    yield from heading("Weight ranges before and after", view, legend)
    rows = Rows(
        count(len(listed_ranges), "layer"), [view.name(e.layer) for e in shown], [ranks[i] for i in choice.shown]
    )
    yield from name_table(rows, _range_columns(shown, view), view)
    if choice.hidden:
        yield from prose(left_out(choice, "layer", view), view, style="dim")


def _range_columns(shown: Sequence[RangeSpread], view: View) -> list[Column]:
    arrow = view.glyphs.arrow
    return [
        Column("channels", [f"{each.channels:,}" for each in shown], "ch.", keep=0),
        Column("spread", [f"{number(e.spread_before)} {arrow} {number(e.spread_after)}" for e in shown]),
        Column("coarse", [f"{e.coarse_before:,} {arrow} {e.coarse_after:,}" for e in shown]),
    ]
