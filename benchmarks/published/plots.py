"""Dots and lines over two axes, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 520, 380, 56, 50, 30, 16
COLOURS = {
    "good": "#1a7f37",
    "bad": "#cf222e",
    "first": "#0969da",
    "second": "#bf8700",
    "third": "#8250df",
    "fourth": "#bf3989",
    "fifth": "#1b7c83",
}
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Series:
    """Points (x, y) of one colour, joined by a line or not."""

    name: str
    colour: str
    points: tuple[tuple[float, float], ...]
    line: bool = False


@dataclass(frozen=True)
class Plot:
    """What is shown, from 0 on both axes."""

    title: str
    x: str
    y: str
    series: Sequence[Series]

    def svg(self) -> str:
        """The picture."""
        style = "text{font:11px sans-serif;fill:#57606a}path{fill:none;stroke:#888}" + "".join(
            f".{name}{{fill:{value};fill-opacity:.75}}.{name}-line{{stroke:{value};stroke-width:2}}"
            for name, value in COLOURS.items()
        )
        lines = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>{escape(self.title)}</title>",
            f'<style>{style}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>',
            *self._ticks(),
            *self._legend(),
            *(text for each in self.series for text in self._drawn(each)),
            "</svg>",
        )
        return "\n".join(lines) + "\n"

    def _most(self, axis: int) -> float:
        return 1.05 * max(point[axis] for each in self.series for point in each.points)

    def _place(self, point: tuple[float, float]) -> tuple[float, float]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * point[0] / self._most(0)
        return x, HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * point[1] / self._most(1)

    def _ticks(self) -> Iterator[str]:
        for value in _marks(self._most(0)):
            x = self._place((value, 0.0))[0]
            yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
        for value in _marks(self._most(1)):
            y = self._place((0.0, value))[1]
            yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
        middle = (HEIGHT - BOTTOM + TOP) // 2
        yield f'<text x="{(WIDTH + LEFT) // 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(self.x)}</text>'
        yield f'<text transform="rotate(-90)" x="-{middle}" y="14" text-anchor="middle">{escape(self.y)}</text>'

    def _legend(self) -> Iterator[str]:
        spans = "  ".join(f'<tspan class="{each.colour}">● {escape(each.name)}</tspan>' for each in self.series)
        yield f'<text x="{LEFT + 8}" y="18">{spans}</text>'

    def _drawn(self, series: Series) -> Iterator[str]:
        places = [self._place(point) for point in series.points]
        if series.line:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            yield f'<path class="{series.colour}-line" d="M{path}"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="{series.colour}"/>' for x, y in places)


def _marks(most: float) -> Iterator[float]:
    step = next((each for each in STEPS if most / each <= 7), STEPS[-1])
    return (index * step for index in range(int(most / step) + 1))
