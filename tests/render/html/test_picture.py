"""The pictures in the README and the docs show the page as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.render.html.picture import DOCS, PICTURES, QUESTIONS, ROOT, WORDS, page, question_page, words


@pytest.fixture(scope="module")
def now() -> str:
    """What the page says today, of the model and data in the pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        return words(page())


@pytest.mark.exports
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_what_the_page_says(name: str, now: str) -> None:
    with Image.open(DOCS / name) as image:
        assert image.info[WORDS] == now, "python -m tests.render.html.picture takes them anew"


@pytest.mark.exports
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.stem)
def test_a_question_shows_the_page_of_its_command(
    question: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    said = words(question_page(question, tmp_path / "page.html"))
    picture = question.with_suffix(".png")
    assert f"]({picture.name})" in question.read_text(encoding="utf-8")
    with Image.open(picture) as image:
        assert image.info[WORDS] == said, "python -m tests.render.html.picture takes them anew"


@pytest.mark.parametrize(("place", "name"), [("README.md", "docs/report.png"), ("docs/html.md", "report-layer.png")])
def test_the_pictures_are_where_people_look(place: str, name: str) -> None:
    text = (ROOT / place).read_text(encoding="utf-8")
    assert name in text
    if place == "README.md":
        assert text.index(name) < text.index("<!-- inspect-command -->")
    assert (ROOT / place).parent.joinpath(name).stat().st_size < 150_000
    assert Path(name).suffix == ".png"
