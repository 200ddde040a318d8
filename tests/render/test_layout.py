"""Wrapping, padding and colour."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from normdiag.render.text.lines import Line, StyledText, cells, fitting, pad, paint, wrap
from normdiag.report.words import safe

WORDS = st.text(alphabet="ab .é漢😀", max_size=60)
SPANS = st.lists(st.builds(StyledText, WORDS, st.sampled_from(["", "bold", "dim", "bold red"])), max_size=4)


def plain(line: Line) -> str:
    return "".join(span.text for span in line)


@given(SPANS, st.integers(2, 30))
def test_wrapping_keeps_every_word_and_its_style(spans: list[StyledText], width: int) -> None:
    lines = wrap(spans, width)

    def marked(line: list[StyledText] | Line) -> list[tuple[str, str]]:
        return [(character, span.style) for span in line for character in span.text if character != " "]

    assert [item for line in lines for item in marked(line)] == marked(spans)
    assert all(cells(plain(line).rstrip(" ")) <= width for line in lines)


def test_wrapping_breaks_at_spaces_and_only_long_words_inside() -> None:
    assert [plain(line) for line in wrap([StyledText("one two three")], 7)] == ["one two", "three"]
    assert [plain(line) for line in wrap([StyledText("to abcdefghij")], 4)] == ["to", "abcd", "efgh", "ij"]
    assert [plain(line) for line in wrap([StyledText("  x")], 9)] == ["  x"]
    assert wrap([], 9) == [()]


@given(st.text(max_size=30))
def test_width_agrees_with_an_independent_one(text: str) -> None:
    printable = safe("".join(c for c in text if c < "\u3100"))  # newer blocks differ between versions of Unicode
    assert abs(cells(printable) - cell_len(printable)) <= sum(ord(c) > 0x2FF for c in printable)
    assert cells("漢字") == cell_len("漢字") == 4
    assert cells("e\u0301") == 1


@given(WORDS.filter(bool), st.integers(1, 30))
def test_fitting_is_the_most_that_fits(text: str, width: int) -> None:
    count = fitting(text, width)
    assert count == 1 or cells(text[:count]) <= width
    assert count == len(text) or cells(text[: count + 1]) > width


def test_padding() -> None:
    assert plain(pad((StyledText("漢"),), 4)) == "漢  "
    assert plain(pad((StyledText("ab"), StyledText("c", "bold")), 5, right=True)) == "  abc"
    assert plain(pad((StyledText("abc"),), 2)) == "abc"


def test_paint() -> None:
    lines = [
        (StyledText("a", "bold red"), StyledText("  ", "dim"), StyledText("b "), StyledText("   ")),
        (),
        (StyledText(" "),),
    ]
    assert paint(lines, color=False) == "a  b\n\n\n"
    assert paint(lines, color=True) == "\x1b[1;31ma\x1b[0m\x1b[2m  \x1b[0mb\n\n\n"
