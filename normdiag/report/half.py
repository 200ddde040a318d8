"""What half precision does: the norms that stay in float32, and each norm simulated in the format."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from normdiag.records import ModelInfo, Report
from normdiag.records.document import Block, Column, Section, Space, Table, facts, paragraph
from normdiag.report.abridge import Detail, choose, left_out, severities
from normdiag.report.half_tools import tool_arguments, unnamed_nodes
from normdiag.report.words import KIND_WORDS, MISSING, count, listed, number, percent, short_name, shortened

if TYPE_CHECKING:
    from normdiag.records.precision import Form, HalfPrecision, KeptNorm, NormInHalf, PrecisionPlan

FORMATS = {"fp16": "float16", "bf16": "bfloat16"}
TOOLS = {
    "trtexec": "TensorRT:",
    "onnxruntime": "onnxruntime (onnxruntime.transformers.float16):",
    "modelopt": "ModelOpt AutoCast:",
    "torch": "PyTorch, modules that stay in float32 with a cast before and after:",
}
CASCADED = (
    "It rounds between neighbouring nodes that stay in float32, so that a square overflows there all the same: take "
    "these casts out again, as docs/half-precision.md shows."
)
HEADINGS: dict[Form, tuple[str, str]] = {
    "sequential": ("summed one by one", "one by one"),
    "pairwise": ("summed in a tree", "tree"),
    "float32_sums": ("sums in float32", "f32 sums"),
    "float32": ("float32 inside", "f32 inside"),
    "rescaled": ("divided by max |x|", "rescaled"),
}
LEGEND = (
    "relative RMS error of the normalized output against float64, by how a kernel adds up, on groups of the first "
    "samples (simulated to the last bit); sum of squares: the largest of a group, overflows in: the share of groups"
)


def half(report: Report, detail: Detail) -> Iterator[Section]:
    """The plan, then the norms."""
    found = report.half
    if found is None:
        return
    name = FORMATS[found.target]
    if found.plan is None:
        reason = found.why_no_plan or "the model has no norm that could be kept in float32"
        told: tuple[Block, ...] = (paragraph(f"Not verified by running the model: {shortened(reason)}", "caution"),)
    else:
        told = (*_told(found, found.plan, name), *_arguments(found, report.model))
    yield Section(f"Precision plan for {name}", told, "" if found.plan is None else _legend(found.plan, name))
    if found.norms:
        yield Section(f"Norms in {name}", tuple(_norms(found, report, detail)), LEGEND)


def headline(plan: PrecisionPlan, name: str) -> str:
    """What has to be done, in one sentence."""
    if plan.sufficient and not plan.kept:
        return f"No norm has to stay in float32: all in {name}, the output is off by {error(plan.all_half)}."
    if not plan.sufficient:
        first = "" if plan.lost is None else f" {short_name(plan.lost)} is the first to put out what is not finite."
        return f"Norms in float32 do not suffice: with all there, the output is off by {error(plan.all_kept)}.{first}"
    names = listed([short_name(each.layer) for each in plan.kept], 5)
    verb = "has" if len(plan.kept) == 1 else "have"
    off, planned, them = error(plan.all_half), error(plan.planned), "it" if len(plan.kept) == 1 else "them"
    return (
        f"{count(len(plan.kept), 'norm')} {verb} to stay in float32: {names}. The output is off by {off} without, by "
        f"{planned} with {them} there."
    )


def error(value: float) -> str:
    """A relative error, in percent."""
    if not math.isfinite(value):
        return "infinitely much (inf or NaN)"
    return percent(value) if value >= 1e-2 else f"{100 * value:.2g}%"


def _told(found: HalfPrecision, plan: PrecisionPlan, name: str) -> Iterator[Block]:
    yield paragraph(headline(plan, name), "good" if plan.sufficient else "caution")
    rows = [
        (f"all in {name}", error(plan.all_half)),
        (f"all in {name}, kernels that sum in float32", error(plan.own_half)),
        ("norms of the plan in float32", error(plan.planned) if plan.kept else ""),
        ("all norms in float32", error(plan.all_kept)),
        ("verified", _verified(plan)),
    ]
    yield facts(*rows)
    if plan.kept:
        yield Space()
        yield _kept(plan.kept)
    large = [each for each in found.norms if each.errors.get("float32") == math.inf]
    if large:
        names = listed([short_name(each.layer) for each in large], 4)
        yield paragraph(
            f"What enters {names} does not fit {name} by itself: the layers before need float32 too.", "caution"
        )


def _verified(plan: PrecisionPlan) -> str:
    minimal = ""
    if plan.kept:
        each = "each norm of the plan is needed" if plan.minimal else "not every norm was tried without: too slow"
        minimal = f", {each}"
    return f"{count(plan.samples, 'sample')}, {count(plan.runs, 'run')}{minimal}; {plan.where}"


def _legend(plan: PrecisionPlan, name: str) -> str:
    rounding = f", of which up to {error(plan.limit)} counts as rounding" if plan.sufficient else ""
    return (
        f"relative RMS error of the outputs against float32{rounding}; norms store squares, sums and means in {name}, "
        "unless stated otherwise"
    )


def _kept(kept: tuple[KeptNorm, ...]) -> Table:
    def cells(values: list[float | None]) -> list[str]:
        return [MISSING if value is None else error(value) if math.isfinite(value) else "inf" for value in values]

    columns = [
        Column("error without it", cells([each.error for each in kept]), "without"),
        Column("the same, sums in float32", cells([each.own_error for each in kept]), "f32 sums"),
        Column("nodes", [str(len(each.nodes)) for each in kept], keep=1),
    ]
    names = [short_name(each.layer) for each in kept]
    return Table("stays in float32", names, [None] * len(kept), columns[: 3 if kept[0].nodes else 2])


def _arguments(found: HalfPrecision, model: ModelInfo) -> Iterator[Block]:
    for tool, argument in tool_arguments(found, model).items():
        yield Space()
        yield paragraph(TOOLS[tool])
        yield paragraph(shortened(argument), "command", level=2)
        if tool == "onnxruntime" and found.plan is not None and any(len(each.nodes) > 1 for each in found.plan.kept):
            yield paragraph(CASCADED, "muted", level=2)
    if unnamed := unnamed_nodes(found):
        yield paragraph(
            f"{count(unnamed, 'node')} of the plan without a name: tools cannot be told to keep them.", "caution"
        )


def _norms(found: HalfPrecision, report: Report, detail: Detail) -> Iterator[Block]:
    worst = severities(report.findings)
    ranks = [worst.get(each.layer) for each in found.norms]
    choice = choose(ranks, [each.errors.get("pairwise") for each in found.norms], detail)
    shown = [found.norms[index] for index in choice.shown]
    forms = [form for form in HEADINGS if any(form in each.errors for each in shown)]
    columns = [
        Column(
            "kind",
            [KIND_WORDS[each.kind][0] for each in shown],
            "kind",
            [KIND_WORDS[e.kind][1] for e in shown],
            2,
            False,
        ),
        Column("group", [f"{each.group_size:,}" for each in shown], keep=3),
        Column("sum of squares", [number(each.largest_sum) for each in shown], "sum sq."),
        *_overflowing(shown),
        *(
            Column(HEADINGS[form][0], [_cell(e, form) for e in shown], HEADINGS[form][1], keep=_KEEP[form])
            for form in forms
        ),
        *_eps(shown),
    ]
    names = [short_name(each.layer) for each in shown]
    yield Table(count(len(found.norms), "norm"), names, [ranks[index] for index in choice.shown], columns)
    yield from left_out(choice, "norm")


_KEEP: dict[Form, int | None] = {"sequential": 4, "pairwise": None, "float32_sums": 5, "float32": 6, "rescaled": 1}


def _cell(each: NormInHalf, form: Form) -> str:
    value = each.errors.get(form)
    return MISSING if value is None else "inf" if not math.isfinite(value) else error(value)


def _overflowing(shown: list[NormInHalf]) -> list[Column]:
    if not any(each.overflowing for each in shown):
        return []
    return [Column("overflows in", [percent(each.overflowing) for each in shown], "overfl.", keep=7)]


def _eps(shown: list[NormInHalf]) -> list[Column]:
    """Where eps is lost, or changes something."""
    if not any(each.eps == 0.0 or (each.eps_error or 0.0) > 1e-3 for each in shown):
        return []
    cells = [MISSING if e.eps_error is None else f"{number(e.eps)}: {_plain(e.eps_error)}" for e in shown]
    return [Column("eps becomes: error", cells, "eps", keep=0)]


def _plain(value: float) -> str:
    return error(value) if math.isfinite(value) else "inf"
