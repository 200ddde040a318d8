"""Tables of numbers as text: .csv and .tsv, a sample a line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.data.feed import LABELS, ArrayFacts, Feed, check_facts, reading
from normdiag.data.labels import class_numbers
from normdiag.errors import InputError
from normdiag.records import Batch

SUFFIXES = frozenset({".csv", ".tsv"})
_MAX_BYTES = 1 << 30
_DELIMITERS = ",;\t"


def is_csv(path: Path) -> bool:
    """Whether a file has the suffix of a table of text."""
    return path.suffix.lower() in SUFFIXES


def csv_feed(source: str, path: Path, name: str | None, *, integers: bool = False) -> Feed:
    """A feed of the numbers of each line as one sample (columns,), float32, or int64 where `integers`.

    The first line may name the columns: one called as labels are (`y`, `label`, `target` ...) holds the classes, one
    without a name, as pandas writes its index, is left out. Raises InputError for what is no number, naming the place.
    """
    columns, lines = _header(path)
    table = _numbers(path, lines)
    labelled = [index for index, each in enumerate(columns) if each.lower() in LABELS]
    kept = [i for i in range(table.shape[1]) if i not in labelled and (not columns or columns[i])]
    if not kept:
        raise InputError(f"{path} has no column of numbers but labels: {', '.join(columns)}")
    values: NDArray[Any] = table[:, kept].astype(np.int64 if integers else np.float32)
    labels = _labels(table[:, labelled[0]]) if labelled else None
    facts = ArrayFacts(values.shape, values.dtype, name)
    check_facts(str(path), facts.shape, facts.dtype)

    def rows(indexes: NDArray[np.int64]) -> Batch:
        return Batch((values[indexes],), labels=None if labels is None else labels[indexes])

    def read(batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(values), batch_size):
            yield rows(np.arange(start, min(start + batch_size, len(values))))

    return Feed(source, "arrays", read, (facts,), rows)


def _header(path: Path) -> tuple[list[str], int]:
    """The names of the columns, and how many lines they take: one or none."""
    with reading(str(path)), path.open(encoding="utf-8-sig") as file:
        first = file.readline(1 << 20).rstrip("\r\n")
    cells = [cell.strip().strip('"') for cell in first.split(_delimiter(first))]
    return (cells, 1) if any(cell and not _is_number(cell) for cell in cells) else ([], 0)


def _numbers(path: Path, skipped: int) -> NDArray[np.float64]:
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise InputError(f"{path} has {size / 2**30:.1f} GiB of text, more than is read at once: save it as .npy")
    with reading(str(path)), path.open(encoding="utf-8-sig") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a file without a line, which is told below
        delimiter = _delimiter(file.readline(1 << 20))
        file.seek(0)
        table = np.loadtxt(file, delimiter=delimiter, skiprows=skipped, ndmin=2, quotechar='"', comments=None)
    if not table.size:
        raise InputError(f"{path} holds no lines of numbers")
    return np.asarray(table, np.float64)


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _labels(column: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Whole numbers as classes; anything else, as the targets of a regression, is none."""
    whole = np.isfinite(column) & (column == np.round(column))
    return class_numbers(column.astype(np.int64)) if whole.all() else None
