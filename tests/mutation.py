"""How many changes of the arithmetic and the decisions the tests catch: `python -m tests.mutation [--sample 300]`.

mutmut changes one thing at a time in the files that [tool.mutmut] in pyproject.toml names (metrics, diagnosis, the
planner of folds and its bound) and runs the tests that come by there. Without --sample it tries every change, which
takes hours: that is for the night. It works in mutants/, and prints a table in Markdown and what survived; exit 1 if
the score is below --at-least.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

# Makes mutmut write its mutants, of which this runs a handful: there is no command that writes them alone.
FEW = "normdiag.folding.bound.x_most__mutmut_*"
CAUGHT = frozenset({"killed", "timeout", "segfault"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Choose, run, print."""
    options = _options(arguments)
    _mutmut("run", "--max-children", str(options.jobs), FEW)
    names = sorted(name for name in _results() if re.search(options.only, name))
    if options.sample and options.sample < len(names):
        chosen = random.Random(options.seed).sample(names, options.sample)
    else:
        chosen = names
    _mutmut("run", "--max-children", str(options.jobs), *chosen)
    found = _results()
    results = {name: found[name] for name in chosen}
    print(f"{len(chosen):,} of {len(names):,} mutants, seed {options.seed}\n")
    print(table(results))
    print("\nSurvivors (`mutmut show NAME` has the change):\n")
    print("\n".join(f"- `{name}`" for name in sorted(chosen) if results[name] not in CAUGHT))
    return int(score(results.values()) < options.at_least)


def table(results: Mapping[str, str]) -> str:
    """Rows of Markdown by part of the package: mutants, caught, survived, met by no test, and the score."""
    parts: dict[str, list[str]] = {}
    for name, status in results.items():
        parts.setdefault(_part(name), []).append(status)
    rows = [("part", "mutants", "caught", "survived", "no test", "score"), ("---",) * 6]
    rows += [_row(part, statuses) for part, statuses in sorted(parts.items())]
    rows.append(_row("all", list(results.values())))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def score(statuses: Iterable[str]) -> float:
    """The share that is caught, of all; 1 for none at all."""
    caught = [status in CAUGHT for status in statuses]
    return sum(caught) / len(caught) if caught else 1.0


def _row(part: str, statuses: Sequence[str]) -> tuple[str, ...]:
    counts = Counter("caught" if status in CAUGHT else status for status in statuses)
    survived = len(statuses) - counts["caught"] - counts["no tests"]
    numbers = (len(statuses), counts["caught"], survived, counts["no tests"])
    return (part, *map(str, numbers), f"{score(statuses):.0%}")


def _part(name: str) -> str:
    """'folding/walk' of 'normdiag.folding.walk.x_walk_up__mutmut_3'; one part for all of metrics, and of diagnosis."""
    _, folder, module, *_ = name.split(".")
    return folder if folder != "folding" else f"folding/{module}"


def _results() -> dict[str, str]:
    """The status of every mutant by its name."""
    return dict(re.findall(r"^\s+(\S+__mutmut_\d+): (.+)$", _mutmut("results", "--all", "true"), re.M))


def _mutmut(*arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments], stdout=subprocess.PIPE, text=True, check=False, encoding="utf-8"
    )
    if ran.returncode:
        said = [
            line for line in ran.stdout.splitlines() if not re.match(r"\s*[⠀-⣿]", line)
        ]  # a spinner, thousands of times
        raise SystemExit("\n".join([f"mutmut {arguments[0]} failed:", *said[-40:]]))
    return ran.stdout


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=0, help="mutants to try; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--only", default="", help="a pattern that their names must match, as 'metrics.drift'")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--at-least", type=float, default=0.0, help="exit 1 below this score")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
