"""What a fold did, as a document: the outcome, each fold, each refusal, the verification, the weight ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from normdiag.records import FoldPlan, FoldReport, FoldStep, PointError, RangeSpread, Verification
from normdiag.records.document import (
    Block,
    Column,
    Document,
    Paragraph,
    Phrase,
    Section,
    Table,
    facts,
    paragraph,
)
from normdiag.report.abridge import Detail, choose, left_out, severities
from normdiag.report.charts import ranges_chart
from normdiag.report.header import model_rows
from normdiag.report.notes import bullets
from normdiag.report.summary import by_rule
from normdiag.report.words import (
    KIND_WORDS,
    count,
    listed,
    number,
    percent,
    short_name,
    shortened,
    size_in_bytes,
)

POINTS = 5
KINDS = {kind: words for kind, (words, _) in KIND_WORDS.items()} | {"scale_shift": "scale and shift"}


def fold_document(report: FoldReport, detail: Detail | None = None) -> Document:
    """The whole report."""
    detail = detail or Detail()
    sections = (
        _header(report),
        _summary(report),
        *_folded(report, detail),
        *_refused(report, detail),
        *_verification(report, detail),
        *_ranges(report, detail),
        *_for_quantizers(report, detail),
        *bullets("Notes", [*report.notes, *report.model.notes]),
    )
    return Document("normdiag fold", sections)


def _header(report: FoldReport) -> Section:
    """The model and where the result went."""
    target = shortened(report.written) if report.written else "nothing was written"
    return Section("", (facts(*model_rows(report.model), ("output", target)),), opening=True)


def _summary(report: FoldReport) -> Section:
    """What was folded, verified and gained, in a line each."""
    blocks: list[Block] = [paragraph(_outcome(report), "" if report.plan.refusals else "good")]
    checked = report.verification
    if checked is not None:
        blocks.append(paragraph(_verdict(checked), "good" if checked.passed else "bad"))
    latency = _latency(checked) if report.plan.steps else ""
    blocks += [paragraph(fact) for fact in (_size(report), latency, _copies(report)) if fact]
    return Section("Summary", tuple(blocks), opening=True)


def _outcome(report: FoldReport) -> str:
    plan = report.plan
    gone = [step for step in plan.steps if step.kind != "scale_shift"]
    plain = len(plan.steps) - len(gone)
    others = listed([count(number, KINDS[kind]) for kind, number in plan.not_asked.items()])
    hint = f" {others}: --norms layer folds gamma and beta." if others else ""
    if not plan.norms and not plan.steps:
        return f"No {'BatchNorm' if others else 'norm'} to fold was found.{hint}"
    done = "folded" if report.carried_out else "can be folded"
    scales = f"{plain:,} plain {'scale or shift' if plain == 1 else 'scales or shifts'}"
    stay = f", {len(plan.refusals):,} not folded" if plan.refusals else ""
    if not plan.norms:
        return f"{scales} {done}{stay}; there is no {'BatchNorm' if others else 'norm'}.{hint}"
    also = f"; {scales} as well" if plain else ""
    return f"{len(gone):,} of {_norms(plan)} {done}{stay}{also}.{hint}"


def _norms(plan: FoldPlan) -> str:
    """How many there are, by their kind where they are all LayerNorms or all RMSNorms."""
    kinds = {step.kind for step in plan.steps} | {refusal.kind for refusal in plan.refusals}
    kind = kinds.pop() if len(kinds) == 1 else None
    return count(plan.norms, KINDS[kind] if kind in ("layer_norm", "rms_norm") else "norm")


def _verdict(checked: Verification) -> str:
    runs = f"{count(checked.runs, 'run')}, {count(checked.samples, 'sample')}, {checked.source}"
    if checked.passed:
        return (
            f"Verified: the output differs by {number(checked.error)} of its largest value at most; rounding explains "
            f"up to {number(checked.bound)} ({runs})."
        )
    return (
        f"NOT VERIFIED: the output differs by {number(checked.error)} of its largest value, and rounding explains no "
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


def _folded(report: FoldReport, detail: Detail) -> Iterator[Section]:
    """One row for each fold."""
    steps = report.plan.steps
    if not steps:
        return
    choice = choose([None] * len(steps), [None] * len(steps), detail)
    shown = [steps[index] for index in choice.shown]
    columns = [
        Column("kind", [KINDS[step.kind] for step in shown], keep=1, right=False),
        Column(
            "into",
            [_into(step, listed(map(short_name, step.into), 2)) for step in shown],
            short_cells=[_into(step, _within_block(step)) for step in shown],
            keep=2,
            right=False,
        ),
    ]
    if any(step.through for step in shown):
        columns.append(
            Column("through", [listed(map(short_name, step.through), 2) for step in shown], keep=0, right=False)
        )
    names = [short_name(step.norm) for step in shown]
    table = Table(count(len(steps), "fold"), names, [None] * len(shown), columns)
    yield Section("Folded" if report.carried_out else "Would fold", (table, *left_out(choice, "fold")))


def _into(step: FoldStep, layers: str) -> str:
    where = {"before": "", "after": " after it", "norm": ", a norm", "beside": " beside it"}[step.direction]
    rest = "" if step.whole else " (gamma; its beta stays)" if step.shift_stays else " (gamma and beta)"
    rest = " (gamma)" if rest and step.kind == "rms_norm" else rest
    shift = ", its shift stays as an Add" if step.whole and step.shift_stays else ""
    return layers + where + rest + shift


def _within_block(step: FoldStep) -> str:
    """The first of the layers by its name within the block that holds the norm too."""
    block = step.norm.rpartition(".")[0] + "."
    return listed([short_name(name.removeprefix(block)) for name in step.into], 1)


def _refused(report: FoldReport, detail: Detail) -> Iterator[Section]:
    """Each refusal with its reason."""
    refusals = report.plan.refusals
    if not refusals:
        return
    choice = choose([None] * len(refusals), [None] * len(refusals), detail)
    reasons = [
        Paragraph((Phrase(short_name(refusal.norm), "strong"), Phrase(f": {shortened(refusal.reason)}")))
        for refusal in (refusals[index] for index in choice.shown)
    ]
    yield Section("Not folded", (*reasons, *left_out(choice, "norm")))


def _verification(report: FoldReport, detail: Detail) -> Iterator[Section]:
    """What the verification ran and found."""
    checked = report.verification
    if checked is None:
        return
    worst = checked.points if detail.all_layers else checked.points[:POINTS]
    rows = [
        ("folded against original", f"{number(checked.error)} at output {short_name(checked.output)}"),
        ("rounding explains", f"{number(checked.bound)} ({checked.dtype}, {count(checked.depth, 'layer')} deep)"),
        *_float64(checked),
        ("inputs", _inputs(checked)),
        ("worst folds, error / bound", ", ".join(map(_point, worst))),
        ("note", shortened(checked.note or "")),
    ]
    legend = "differences as shares of the largest value of the tensor (docs/folding.md)"
    yield Section("Verification", (facts(*rows),), legend)


def _point(point: PointError) -> str:
    return f"{short_name(point.layer)} {number(point.relative)} / {number(point.bound)}"


def _float64(checked: Verification) -> Iterator[tuple[str, str]]:
    if checked.float64_error is None:
        if checked.float64_note:
            yield "against float64", f"not run: {shortened(checked.float64_note)}"
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


def _ranges(report: FoldReport, detail: Detail) -> Iterator[Section]:
    """The weight ranges of the layers that absorbed something, worst after folding first."""
    ranges = [each for each in report.ranges if each.channels > 1]
    if not ranges:
        return
    legend = (
        "spread: largest over smallest range of an output channel; coarse: channels that one INT8 scale for the whole "
        "tensor leaves at most one level"
    )
    worst = severities(report.findings)
    ranks = [worst.get(each.layer) for each in ranges]
    choice = choose(ranks, [each.coarse_after + each.spread_after * 1e-9 for each in ranges], detail)
    shown = [ranges[index] for index in choice.shown]
    names, marks = [short_name(each.layer) for each in shown], [ranks[index] for index in choice.shown]
    table = Table(count(len(ranges), "layer"), names, marks, _range_columns(shown))
    figures = (ranges_chart(shown),) if detail.figures else ()
    yield Section("Weight ranges before and after", (*figures, table, *left_out(choice, "layer")), legend)


def _for_quantizers(report: FoldReport, detail: Detail) -> Iterator[Section]:
    """The findings, which are all about INT8: last, since most folded models stay in floating point."""
    if report.findings:
        yield Section(
            "If it is to be quantized", tuple(by_rule(report.findings, detail))[1:]
        )  # no room before the first


def _range_columns(shown: Sequence[RangeSpread]) -> list[Column]:
    return [
        Column("channels", [f"{each.channels:,}" for each in shown], "ch.", keep=0),
        Column("spread", [f"{number(e.spread_before)} → {number(e.spread_after)}" for e in shown]),
        Column("coarse", [f"{e.coarse_before:,} → {e.coarse_after:,}" for e in shown]),
    ]
