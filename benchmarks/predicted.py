"""How far stored means lie from those that the weights predict (ND209), in healthy networks and with planted faults.

    python -m benchmarks.predicted development held-out --plot docs/predicted.svg

No data is used. Networks are those of benchmarks.diagnosis, trained there and cached; limits were set on others.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.diagnosis import weights
from benchmarks.diagnosis.networks import names, subject
from benchmarks.diagnosis.subjects import Subject
from normdiag.folding.pytorch import TorchFoldable
from normdiag.metrics.predicted import predicted_means
from normdiag.models import from_module
from normdiag.records import Batch, OpGraph
from normdiag.rules import RULES

RULE = next(rule for rule in RULES if rule.id == "ND209")
HEALTHY = "healthy"


@dataclass(frozen=True)
class JudgedLayer:
    """One BatchNorm: `off` in stored standard deviations, `relative` to the size of the two means, `faulty` or not."""

    net: str
    kind: str
    faulty: bool
    off: float
    relative: float

    @property
    def found(self) -> bool:
        """Whether the rule would name it."""
        return self.off >= RULE.limits["off"] and self.relative >= RULE.limits["relative"]


def main() -> None:
    """Judge, print a table, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("half", nargs="+", choices=("development", "held-out"))
    parser.add_argument("--only", action="append", help="networks, by name; all without it")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    chosen = [name for half in given.half for name in names(half) if given.only is None or name in given.only]
    layers = [layer for name in chosen for layer in _of_subject(subject(name))]
    print("\n".join(table(layers)))
    if given.plot is not None:
        given.plot.write_text(scatter(layers))


def _of_subject(net: Subject) -> Iterator[JudgedLayer]:
    for kind, (module, faulty) in _planted(net).items():
        found = predicted_means(_graph(net, module))
        for each in found:
            if len(each.s) >= RULE.limits["channels"]:
                yield JudgedLayer(net.name, kind, each.layer in faulty, each.rms, each.relative)


def _graph(net: Subject, module: nn.Module) -> OpGraph:
    example = Batch((net.x(net.test.stored[:2]).numpy(),), 2)
    return TorchFoldable(module, from_module(module).info, example, share=True).graph


def _planted(net: Subject) -> Mapping[str, tuple[nn.Module, frozenset[str]]]:
    """Modules with one fault each, and the layers that have it."""
    every = frozenset(net.norms)
    cases: dict[str, tuple[nn.Module, frozenset[str]]] = {HEALTHY: (net.module, frozenset())}
    if net.foreign is not None:
        cases["statistics of another seed, all layers"] = net.copied(), every
        for name in every:
            _take(net.foreign, cases["statistics of another seed, all layers"][0], name)
        middle = net.norms[len(net.norms) // 2]
        cases["statistics of another seed, one layer"] = net.copied(), frozenset({middle})
        _take(net.foreign, cases["statistics of another seed, one layer"][0], middle)
    changed: dict[str, Callable[[Subject], nn.Module]] = {
        "half of the weights pruned": partial(weights._pruned, 0.5),
        "70 % of the weights pruned": partial(weights._pruned, 0.7),
        "weights averaged": partial(weights._averaged, 0.05),
    }
    return cases | {kind: (make(net), every) for kind, make in changed.items()}


def _take(source: nn.Module, target: nn.Module, name: str) -> None:
    for role in ("running_mean", "running_var"):
        setattr(target.get_submodule(name), role, copy.deepcopy(getattr(source.get_submodule(name), role)))


def table(layers: Sequence[JudgedLayer]) -> Iterator[str]:
    """A row for each kind of fault: how far off, how many layers and networks the rule would name."""
    yield "| | layers judged | off: median, 5 % to 95 % | relative: median, 5 % to 95 % | layers named | networks |"
    yield "|---|---:|---:|---:|---:|---:|"
    for kind in dict.fromkeys(each.kind for each in layers):
        rows = [each for each in layers if each.kind == kind]
        judged = [each for each in rows if each.faulty or kind == HEALTHY]
        if not judged:
            continue
        nets = {each.net for each in judged}
        named = {each.net for each in rows if each.found}
        wrongly = sum(each.found for each in rows if not each.faulty)
        also = f", {wrongly} others" if kind != HEALTHY and wrongly else ""
        figures = " | ".join(_spread([getattr(each, what) for each in judged]) for what in ("off", "relative"))
        named_layers = sum(each.found for each in judged)
        yield f"| {kind} | {len(judged)} | {figures} | {named_layers}{also} | {len(named)} of {len(nets)} |"


def _spread(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{middle:.2f}, {low:.2f} to {high:.2f}"


SIZE, MARGIN, MOST_OFF, MOST_RELATIVE = 420, 50, 4.0, 1.6


def scatter(layers: Sequence[JudgedLayer]) -> str:
    """An SVG of every layer, relative against off (a log axis), healthy and faulty, with the limits of the rule."""
    dots = [
        f'<circle cx="{_x(each.relative):.1f}" cy="{_y(each.off):.1f}" r="3" class="{_group(each)}"/>'
        for each in sorted(layers, key=lambda each: each.faulty, reverse=True)
        if each.faulty or each.kind == HEALTHY
    ]
    corner = (
        f"M{_x(RULE.limits['relative']):.1f} {_y(MOST_OFF):.1f}V{_y(RULE.limits['off']):.1f}H{_x(MOST_RELATIVE):.1f}"
    )
    ticks = [
        *(
            f'<text x="{_x(v):.1f}" y="{SIZE - MARGIN + 16}" text-anchor="middle">{v:g}</text>'
            for v in (0, 0.4, 0.8, 1.2, 1.6)
        ),
        *(f'<text x="{MARGIN - 6}" y="{_y(v) + 4:.1f}" text-anchor="end">{v:g}</text>' for v in (0.01, 0.1, 0.4, 1, 4)),
    ]
    style = (
        "text{font:11px sans-serif;fill:#555}.good{fill:#1a7f37;fill-opacity:.6}.foreign{fill:#cf222e;fill-opacity:.5}"
        ".moved{fill:#bf8700;fill-opacity:.5}"
        "path{fill:none;stroke:#888}rect{fill:#fff}"
    )
    middle = SIZE // 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" role="img">',
        "<title>Stored means against predicted ones: healthy and faulty BatchNorm layers</title>",
        f'<style>{style}</style><rect width="{SIZE}" height="{SIZE}"/>',
        f'<path d="M{MARGIN} 20V{SIZE - MARGIN}H{SIZE - 20}"/><path stroke-dasharray="4" d="{corner}"/>',
        *ticks,
        f'<text x="{middle}" y="{SIZE - 14}" text-anchor="middle">relative to the size of the means</text>',
        f'<text transform="rotate(-90)" x="-{middle}" y="14" text-anchor="middle">'
        "off, in stored standard deviations</text>",
        f'<text x="{MARGIN + 12}" y="32"><tspan class="good">● healthy</tspan> '
        '<tspan class="moved">● weights moved</tspan> <tspan class="foreign">● of another network</tspan></text>',
        *dots,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _group(layer: JudgedLayer) -> str:
    return "foreign" if "another seed" in layer.kind else "moved" if layer.faulty else "good"


def _x(relative: float) -> float:
    return MARGIN + (SIZE - MARGIN - 20) * min(relative, MOST_RELATIVE) / MOST_RELATIVE


def _y(off: float) -> float:
    share = (np.log10(min(max(off, 0.01), MOST_OFF)) + 2) / (np.log10(MOST_OFF) + 2)
    return float(SIZE - MARGIN - (SIZE - MARGIN - 20) * share)


if __name__ == "__main__":
    main()
