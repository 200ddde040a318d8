"""A check in any of its formats; each is imported only when it is asked for."""

from __future__ import annotations

from normdiag.errors import UsageError
from normdiag.records import CheckReport

FORMATS = ("text", "json", "sarif", "junit", "github", "markdown", "html")


def render(
    check: CheckReport,
    format_: str,
    *,
    prefix: str = "",
    width: int = 100,
    color: bool = False,
    all_layers: bool = False,
    ascii_only: bool = False,
) -> str:
    """The check in one of FORMATS; Raises UsageError for another.

    `prefix` goes before the paths in SARIF and annotations; the options from `width` on are for text.
    """
    if format_ == "text":
        from normdiag.render.text import render_text
        from normdiag.report.abridge import Detail
        from normdiag.report.check import check_document

        document = check_document(check, Detail(all_layers))
        return render_text(document, width=width, color=color, ascii_only=ascii_only)
    if format_ == "html":
        from normdiag.render.html import render_html
        from normdiag.report.abridge import Detail
        from normdiag.report.check import check_document

        return render_html(check_document(check, Detail(all_layers, figures=True)))
    if format_ not in FORMATS:
        raise UsageError(f"there is no format {format_!r}: {', '.join(FORMATS)}")
    from importlib import import_module

    module = import_module(f"normdiag.render.ci.{format_}")
    options = {"prefix": prefix} if format_ in ("sarif", "github") else {}
    rendered: str = getattr(module, f"render_{format_}")(check, **options)
    return rendered
