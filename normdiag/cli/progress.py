"""Progress of a long run: a bar on stderr with rate and time left, where someone is there to see it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, Task
    from rich.text import Text


class ReportProgress(Protocol):
    """Takes what is done, the total, and a few words on how it stands."""

    def __call__(self, done: int, total: int | None, note: str = "") -> None: ...  # noqa: D102


@contextmanager
def progress_bar(*, quiet: bool, unit: str = "samples") -> Iterator[ReportProgress | None]:
    """A function to call with what is done and the total (None: unknown); None where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    bar = _bar(unit)
    task = bar.add_task(unit, total=None, note="")

    def update(done: int, total: int | None, note: str = "") -> None:
        bar.start()  # not before the first batch: loading prints nothing
        bar.update(task, completed=done, total=total, note=note)

    try:
        yield update
    finally:
        bar.stop()


def _bar(unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TimeRemainingColumn
    from rich.text import Text

    from normdiag.report.words import progress_words

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            amount = progress_words(task.completed, task.total, task.finished_speed or task.speed, unit)
            return Text(", ".join(filter(None, (amount, task.fields["note"]))))

    console = Console(stderr=True, markup=False, highlight=False)
    return Progress(BarColumn(bar_width=30), Count(), TimeRemainingColumn(), console=console, transient=True)
