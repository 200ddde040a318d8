"""Numbers and names as words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.records.document import Column
from normdiag.render.text.lines import cells
from normdiag.render.text.tables import fit, fold
from normdiag.report import words


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "?"),
        (0, "0"),
        (0.11843, "0.118"),
        (999.4, "999"),
        (12_345.6, "12,346"),
        (3e-18, "3e-18"),
        (1.26e7, "1.3e+07"),
        (-0.05, "-0.05"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_number(value: float | None, expected: str) -> None:
    assert words.number(value) == expected


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.1184, 0.0031, "0.118 ± 0.003"),
        (43.123, 0.5, "43.12 ± 0.50"),
        (432.17, 12.34, "432.2 ± 12.3"),
        (0.2, 0.0001, "0.200 ± <0.001"),
        (0.2, 0.0, "0.200 ± 0.000"),
        (0.2, math.inf, "0.200 ± ?"),
        (math.nan, math.nan, "nan ± ?"),
        (2e9, 1e8, "2e+09 ± 1e+08"),
    ],
)
def test_with_error(value: float, error: float, expected: str) -> None:
    assert words.with_error(value, error) == expected


def test_errors_line_up() -> None:
    cells = words.aligned_errors([(0.1, 0.01), (43.2, 1.25), None])
    assert cells == ["0.100 ± 0.010", "43.20 ± 1.25 ", "–"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0.0%"),
        (0.0001, "<0.1%"),
        (0.123, "12.3%"),
        (0.99999, ">99.9%"),
        (1.0, "100.0%"),
        (43.0, "4,300%"),
        (-0.05, "-5.0%"),
        (None, "?"),
        (math.nan, "nan"),
    ],
)
def test_percent(value: float | None, expected: str) -> None:
    assert words.percent(value) == expected


def test_plurals() -> None:
    assert [words.count(1, "layer"), words.count(1000, "batch"), words.count(0, "byte")] == [
        "1 layer",
        "1,000 batches",
        "0 bytes",
    ]


def test_sizes() -> None:
    assert [words.size_in_bytes(n) for n in (1, 999, 1500, 1_114_000, 2_500_000_000)] == [
        "1 byte",
        "999 bytes",
        "1.5 kB",
        "1.1 MB",
        "2.5 GB",
    ]


@pytest.mark.parametrize(
    ("items", "expected"),
    [("", ""), ("a", "a"), ("ab", "a and b"), ("abc", "a, b and c"), ("abcde", "a, b, c and 2 more")],
)
def test_listed(items: str, expected: str) -> None:
    assert words.listed(items) == expected


def test_ascii_spells_the_signs_of_messages() -> None:
    assert words.safe("0.5 ± 0.1 → naïve", ascii_only=True) == "0.5 +/- 0.1 -> na\\xefve"


@given(st.text())
def test_safe_text_is_printable(text: str) -> None:
    assert words.safe(text).isprintable()
    assert words.safe(text, ascii_only=True).isascii()
    assert len(words.safe(text, limit=20)) <= len(words.safe(text)) + 40


@given(st.text(alphabet="ab._/é漢", max_size=80), st.integers(4, 40))
def test_folding_loses_nothing_and_fits(name: str, width: int) -> None:
    lines = fold(name, width)
    assert "".join(lines).replace(" ", "") == name
    assert max(map(cells, lines)) <= width


def test_folding_breaks_at_separators() -> None:
    assert "\n".join(fold("backbone.layer1.0.bn1", 14)) == "backbone.\n  layer1.0.bn1"
    assert "\n".join(fold("encoder.point_bn1", 15)) == "encoder.\n  point_bn1"
    assert "\n".join(fold("very_long_name", 10)) == "very_long_\n  name"


def test_columns_are_shortened_before_they_are_dropped() -> None:
    first = Column("first", ["1"])
    second = Column("second column", ["long cell"], "2nd", ["cell"], keep=2)
    third = Column("third", ["333"], "3rd", keep=1)

    def titles(room: int, most: int = 0) -> list[str]:
        return [column.title for column in fit([first, second, third], room, max(room, most))]

    assert titles(25) == ["first", "second column", "third"]
    assert titles(24) == ["first", "second column", "3rd"]
    assert titles(22) == ["first", "2nd", "3rd"]
    assert titles(17) == ["first", "2nd"]
    assert titles(17, most=30) == ["first", "2nd", "3rd"]  # names are folded before a column goes
    assert titles(1) == ["first"]


@pytest.mark.parametrize(
    ("done", "total", "rate", "expected"),
    [
        (320, 1000, 51.27, "320/1,000 samples, 51.3/s"),
        (5, None, None, "5 samples"),
        (5000, None, 12_345.0, "5,000 samples, 12,345/s"),
    ],
)
def test_progress_in_words(done: float, total: float | None, rate: float | None, expected: str) -> None:
    assert words.progress_words(done, total, rate) == expected
