"""From everything that was compared to a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from normdiag.errors import InputError
from normdiag.folding.backend import FoldPoint
from normdiag.folding.bound import Depth, depth
from normdiag.folding.evidence import groups_without_values, moved_by, only_noise, unseen
from normdiag.folding.feeds import TrialFeed
from normdiag.folding.tally import Tally, TallyRow
from normdiag.records import FoldPlan, Latency, Norm, OpGraph, PointError, ScaleShift, Verification
from normdiag.wording import abridged


@dataclass(frozen=True)
class Done:
    """One run: its samples and magnitude."""

    size: int
    magnitude: float | None


@dataclass(frozen=True, eq=False)
class Runs:
    """What was run and compared."""

    feed: TrialFeed
    done: tuple[Done, ...]
    float64_note: str | None = None
    latency: Latency | None = None


def judged(
    tally: Tally,
    runs: Runs,
    depths: Mapping[str, Depth],
    points: Sequence[FoldPoint],
) -> Verification:
    """The verdict, by the estimated errors of each group. Raises InputError where there is nothing to base it on."""
    inner = tally.rows("point", depths)
    rows = tally.rows("output", depths) or inner or tally.rows("integer", depths)
    if not rows:
        raise InputError(only_noise(tally, runs.feed) if tally.noise else _nothing(tally))
    worst = rows[0]
    blind = unseen(tally, points)
    seen = [point for point in points if point not in blind]
    sizes = [run.size for run in runs.done]
    first = next(iter(depths.values()))
    return Verification(
        passed=all(row.error <= row.bound for row in (*rows, *inner)),
        error=worst.error,
        bound=worst.bound,
        output=worst.tensor,
        dtype=first.dtype,
        depth=first.layers,
        runs=len(runs.done),
        samples=sum(sizes),
        source=runs.feed.source,
        float64_error=tally.largest("exact", depths),
        original_float64_error=tally.largest("own", depths),
        float64_note=runs.float64_note,
        points=tuple(_point_errors(inner, seen)),
        batch_sizes=tuple(sorted(set(sizes))),
        magnitudes=tuple(sorted({run.magnitude for run in runs.done if run.magnitude is not None})),
        latency=runs.latency,
        note="; ".join(_notes(tally, runs, rows, blind, depths)) or None,
    )


def failure_message(verification: Verification) -> str:
    """One line on why a fold has not passed."""
    point = next((p for p in verification.points if p.bound is not None and p.relative > p.bound), None)
    if verification.error > verification.bound:
        where = f"first at {point.layer}" if point else f"at output {verification.output!r}"
        return f"{_differs(verification.error, verification.bound)}, {where}; nothing was written"
    if point is None or point.bound is None:
        return "the folded model agrees with the original"
    return f"{_differs(point.relative, point.bound)} at {point.layer}, though not at its outputs; nothing was written"


def _differs(error: float, bound: float) -> str:
    if math.isfinite(error):
        return f"the folded model differs from the original by {error:.1e} (bound {bound:.1e})"
    return "the folded model gives another shape, or NaN or infinity at other places than the original"


def depth_seen(tally: Tally, group: str, graph: OpGraph, plan: FoldPlan, points: Sequence[FoldPoint]) -> Depth:
    """The estimated errors, with the cancellation that was seen in a group of inputs."""
    shifts = _shifts(graph)
    scales = {tensor: each.scale for tensor, each in tally.of("point", group).items() if each.scale > 0}
    seen = [point for point in points if point.layer in shifts and point.before in scales]
    return depth(graph, plan, {point.layer: shifts[point.layer] / scales[point.before] for point in seen})


def _shifts(graph: OpGraph) -> Mapping[str, float]:
    """max|shift| of every norm that is a fixed affine map, by name."""
    shifts = {}
    for op in graph.ops:
        if isinstance(op.detail, Norm | ScaleShift) and op.detail.shift is not None and op.detail.shift.size:
            shifts[op.name] = float(abs(op.detail.shift).max())
    return shifts


def _point_errors(rows: Iterable[TallyRow], points: Sequence[FoldPoint]) -> list[PointError]:
    """One for each point, of the group where it is worst: those above their bound in order, then the others by excess.

    What is wrong at one layer is wrong after it too, and may grow; the first is the one to look at.
    """
    worst: dict[str, TallyRow] = {}
    for row in rows:  # worst first
        worst.setdefault(row.tensor, row)
    seen = [(point, worst[point.before]) for point in points if point.before in worst]
    seen.sort(key=lambda pair: (False, 0.0) if pair[1].excess > 1 else (True, -pair[1].excess))
    return [PointError(point.layer, point.before, row.error, row.bound) for point, row in seen]


def _notes(
    tally: Tally, runs: Runs, rows: Sequence[TallyRow], blind: Sequence[FoldPoint], depths: Mapping[str, Depth]
) -> Iterable[str]:
    if runs.feed.note:
        yield runs.feed.note
    if tally.overflows:
        yield f"{tally.overflows} runs were left out since the original overflows in them"
    for group, names in groups_without_values(tally):
        yield f"the original gives no finite value at {abridged(names)} on the inputs of {group}"
    empty = [point.layer for point in blind if point.before not in tally.noise]
    if empty:
        yield f"no finite value was seen at {abridged(empty)}, only at outputs after it"
    if not any(tally.all("output")):
        yield "no output is floating-point; what is compared is " + abridged(sorted({row.tensor for row in rows}))
    else:
        differing = {tensor: each.largest for tensor, each in tally.all("integer") if each.largest}
        if differing:
            share = max(differing.values())
            yield f"up to {share:.2g} of the values of {abridged(sorted(differing))} (integers) differ, as ties may"
    yield from _unsteady(tally, blind, depths)


def _unsteady(tally: Tally, blind: Sequence[FoldPoint], depths: Mapping[str, Depth]) -> Iterable[str]:
    """What is to be known of an original that is in rounding noise itself."""
    moved = tally.most_unsteady(depths)
    if not moved:
        return
    yield f"the original itself is unsteady: rounding alone moves it {moved_by(moved)}"
    if tally.noisy:
        runs = f"{tally.noisy} run{'s' if tally.noisy > 1 else ''}"
        yield f"what differs for that reason in {runs} proves nothing, and other inputs were compared"
    unseen_points = [point.layer for point in blind if point.before in tally.noise]
    if unseen_points:
        yield f"at {abridged(unseen_points)} nothing else was seen, only at outputs after it"


def _nothing(tally: Tally) -> str:
    if tally.overflows:
        return (
            "the original gives NaN or infinity on all made-up inputs, so that nothing can be compared: use --data; "
            "--no-verify writes it without a verification"
        )
    return "the model has no output that could be compared: a fold cannot be verified"
