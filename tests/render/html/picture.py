"""The pictures of the page in the README and the docs: `python -m tests.render.html.picture` takes them anew.

Each PNG holds the words of the page that it shows, so that a test can say when it no longer shows what is there.
"""

from __future__ import annotations

import re
import shlex
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import normdiag
from normdiag.cli.app import run
from normdiag.models import LoadOptions
from normdiag.render.html import render_html
from normdiag.report.inspect import inspect_document
from tests.render.html.pages import PAGE, Page
from tests.test_questions import COMMAND

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
SAMPLES = Path("sample_models")
WORDS = "Description"  # a keyword that PNG defines, 11.3.4.2 of the specification
# What is seen of the page, as left, top, right and bottom, by the file in docs/.
PICTURES = {"report.png": ("#top", 1260), "report-layer.png": ("#layer", 760)}
QUESTIONS = sorted((DOCS / "questions").glob("*.md"))
FIRST_SCREEN = 560


def page() -> str:
    """A model whose weights were averaged and its statistics not, on its data. Run from the root of the repository."""
    reading = LoadOptions(arch=f"{SAMPLES / 'net.py'}:DigitsCNN")
    model, data = SAMPLES / "digits_cnn_averaged.pt", str(SAMPLES / "digits.npz")
    return render_html(inspect_document(normdiag.inspect(model, data=[data], load_options=reading), PAGE))


def words(text: str) -> str:
    """What a page says, without the numbers, whose last digits depend on the processor."""
    return re.sub(r"[-<>]?\d[\d,]*(\.\d+)?(e-?\d+)?", "#", Page(text).words)


def question_page(question: Path, file: Path) -> str:
    """The page that the command of a question's page writes with --report. Run from the root of the repository."""
    command = COMMAND.search(question.read_text(encoding="utf-8"))
    assert command is not None
    assert run([*shlex.split(command[1])[1:], "--quiet", "--report", f"html={file}"]) in (0, 1)
    return file.read_text(encoding="utf-8")


def take() -> None:
    """Write all pictures."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        text = page()
        file.write_text(text, encoding="utf-8")
        for name, (anchor, height) in PICTURES.items():
            _take(browser, file, DOCS / name, text, anchor, height)
        for question in QUESTIONS:
            file.unlink()
            text = question_page(question, file)
            _take(browser, file, question.with_suffix(".png"), text, "#top", FIRST_SCREEN)
        browser.close()


def _take(browser: Browser, file: Path, picture: Path, text: str, anchor: str, height: int) -> None:
    from PIL import Image, PngImagePlugin

    said = PngImagePlugin.PngInfo()
    said.add_itxt(WORDS, words(text))
    shown = browser.new_page(viewport={"width": 1180, "height": height})
    shown.goto(file.as_uri())
    if anchor == "#layer":
        shown.evaluate("document.querySelector('#layer').scrollIntoView()")
    with Image.open(BytesIO(shown.screenshot())) as image:
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(picture, pnginfo=said, optimize=True)


if __name__ == "__main__":
    take()
