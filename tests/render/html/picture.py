"""The pictures of the page in the README and the docs: `python -m tests.render.html.picture` takes them anew.

Each PNG holds the words of the page that it shows, so that a test can say when it no longer shows what is there.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import normdiag
from normdiag.models import LoadOptions
from normdiag.render.html import render_html
from normdiag.report.inspect import inspect_document
from tests.render.html.pages import PAGE, Page

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
SAMPLES = Path("sample_models")
WORDS = "Description"  # a keyword that PNG defines, 11.3.4.2 of the specification
# What is seen of the page, as left, top, right and bottom, by the file in docs/.
PICTURES = {"report.png": ("#top", 1260), "report-layer.png": ("#layer", 760)}


def page() -> str:
    """A model whose weights were averaged and its statistics not, on its data. Run from the root of the repository."""
    reading = LoadOptions(arch=f"{SAMPLES / 'net.py'}:DigitsCNN")
    model, data = SAMPLES / "digits_cnn_averaged.pt", str(SAMPLES / "digits.npz")
    return render_html(inspect_document(normdiag.inspect(model, data=[data], load_options=reading), PAGE))


def words(text: str) -> str:
    """What a page says, without the numbers, whose last digits depend on the processor."""
    return re.sub(r"[-<>]?\d[\d,]*(\.\d+)?(e-?\d+)?", "#", Page(text).words)


def take() -> None:
    """Write both pictures."""
    from PIL import Image, PngImagePlugin
    from playwright.sync_api import sync_playwright

    text = page()
    said = PngImagePlugin.PngInfo()
    said.add_itxt(WORDS, words(text))
    with sync_playwright() as playwright, TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(text, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, (anchor, height) in PICTURES.items():
            shown = browser.new_page(viewport={"width": 1180, "height": height})
            shown.goto(file.as_uri())
            if anchor == "#layer":
                shown.evaluate("document.querySelector('#layer').scrollIntoView()")
            shown.screenshot(path=Path(folder) / name)
            with Image.open(Path(folder) / name) as image:
                image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
                    DOCS / name, pnginfo=said, optimize=True
                )
        browser.close()


if __name__ == "__main__":
    take()
