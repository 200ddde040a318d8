"""Published findings, reproduced small, as tables and plots of docs/published.md.

python -m benchmarks.published averaged
python -m benchmarks.published depth --plot docs/published-depth.svg
python -m benchmarks.published corruptions --plot docs/published-corruptions.svg
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.published import averaged, corruptions, depth

Found = tuple[Iterator[str], Callable[[], str] | None]


def _depth() -> Found:
    found = depth.results()
    return depth.table(found), lambda: depth.plot(found)


def _corruptions() -> Found:
    found = corruptions.results()
    return corruptions.table(found), lambda: corruptions.plot(found)


CASES: dict[str, Callable[[], Found]] = {
    "averaged": lambda: (averaged.table(), None),
    "depth": _depth,
    "corruptions": _corruptions,
}


def main() -> None:
    """Print a markdown table, and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    lines, plot = CASES[given.case]()
    for line in lines:
        print(line, flush=True)
    if given.plot is not None and plot is not None:
        given.plot.write_text(plot())


if __name__ == "__main__":
    main()
