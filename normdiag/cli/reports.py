"""What a command prints, and `--report FORMAT=FILE`: reports that are written beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from normdiag.cli.output import print_out, print_text, say, write_file
from normdiag.cli.targets import check_targets
from normdiag.errors import UsageError
from normdiag.terminal import DEFAULT_WIDTH, is_ascii_only, terminal_width, wants_color
from normdiag.wording import nearest

if TYPE_CHECKING:
    from normdiag.records.document import Document
    from normdiag.report.abridge import Detail

FORMATS = ("html", "json", "text")
Files = Sequence[tuple[str, Path]]


def report_files(given: Sequence[str] | None, formats: Iterable[str] = FORMATS) -> Files:
    """Formats and files of the options, in order. Raises UsageError where one is not FORMAT=FILE."""
    return [_taken_apart(text, list(formats)) for text in given or ()]


def check_report_files(files: Files, read: Sequence[str | None], output: Path | None = None) -> None:
    """Refuse, before any work, files that cannot be written, are read, or are the `output` of the command itself."""
    check_targets([(option(kind), path) for kind, path in files], [each for each in read if each])
    for kind, path in files:
        if output is not None and path.resolve() == output.resolve():
            raise UsageError(f"{option(kind)} {path}: something else is written there too; choose another name")


def write_reports(files: Files, rendered: Callable[[str], str], *, quiet: bool) -> None:
    """Write each file in its format, whole or not at all, and say so."""
    for kind, path in files:
        write_file(path, rendered(kind))
        if not quiet:
            say(f"wrote {path}")


def put_out(
    document: Callable[[Detail], Document],
    as_json: Callable[[], str],
    files: Files,
    *,
    json: bool,
    all_layers: bool,
    color: bool | None,
    quiet: bool,
) -> None:
    """Print a report, and write the files of --report before that; it is made first, so that a failure writes none."""
    text = as_json() if json else _on_terminal(document, color, all_layers)
    write_reports(files, of_document(document, as_json, all_layers=all_layers), quiet=quiet)
    (print_out if json else print_text)(text)


def _on_terminal(document: Callable[[Detail], Document], color: bool | None, all_layers: bool) -> str:
    """As the terminal can show it."""
    from normdiag.render.text import render_text
    from normdiag.report.abridge import Detail

    made = document(Detail(all_layers))
    return render_text(made, width=terminal_width(), color=wants_color(color), ascii_only=is_ascii_only())


def of_document(
    document: Callable[[Detail], Document], as_json: Callable[[], str], *, all_layers: bool
) -> Callable[[str], str]:
    """From one of FORMATS to the text of that file, for a command whose report is a document."""

    def rendered(kind: str) -> str:
        from normdiag.report.abridge import Detail

        if kind == "json":
            return as_json()
        if kind == "html":
            from normdiag.render.html import render_html

            return render_html(document(Detail(all_layers, figures=True)))
        from normdiag.render.text import render_text

        return render_text(document(Detail(all_layers)), width=DEFAULT_WIDTH, color=False)

    return rendered


def option(kind: str) -> str:
    """The option as it is typed, for messages."""
    return f"--report {kind}:"


def _taken_apart(text: str, known: Sequence[str]) -> tuple[str, Path]:
    kind, equals, file = text.partition("=")
    if kind in known and not file:
        raise UsageError(f"--report {text}: names no file; give it as {kind}=FILE")
    if not equals or not file or kind not in known:
        wanted = f"give it as FORMAT=FILE with one of {', '.join(known)}"
        raise UsageError(f"--report {text}: {wanted}{nearest(kind, known)}")
    return kind, Path(file)
