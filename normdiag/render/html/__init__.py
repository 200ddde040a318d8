"""A document as one HTML file that asks nothing of anybody: no request, no script of others, readable without scripts.

`render_html` is the whole page, `first_screen` the answer alone, as a fragment for notebooks.
"""

from __future__ import annotations

from normdiag.render.html.page import first_screen, render_html

__all__ = ["first_screen", "render_html"]
