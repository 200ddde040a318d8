"""Which blocks stand together, and in which tone."""

from __future__ import annotations

from normdiag.records.document import Bullets, FindingGroup, Paragraph, Phrase, Space, paragraph
from normdiag.render.html.grouped import grouped, is_command, role_of


def test_what_is_said_under_a_statement_stands_with_it() -> None:
    first, under, bullets, alone = (
        paragraph("a"),
        paragraph("b", level=2),
        Bullets(("x",)),
        paragraph("c", level=0),
    )
    finding = FindingGroup("error", "ND1", ("m",), 0, "", level=2)
    assert grouped([Space(), first, under, finding, Space(), bullets, alone]) == [
        [first, under, finding],
        [bullets],
        [alone],
    ]
    assert grouped([under, first]) == [[under], [first]]
    assert grouped([Space()]) == []


def test_the_tone_is_that_of_the_first_words_that_have_one() -> None:
    assert role_of(Paragraph((Phrase("x", "muted"), Phrase("y", "caution"), Phrase("z", "bad")))) == "warning"
    assert role_of(FindingGroup("info", "", (), 0, "")) == "info"
    assert role_of(paragraph("plain")) == "" and role_of(Bullets(())) == ""


def test_a_command_is_told_from_a_sentence() -> None:
    assert is_command("normdiag fold a.pt -o b.onnx")
    assert not is_command("normdiag fold a.pt -o b.onnx, with the options that loaded it")
    assert not is_command("Run normdiag fold")
