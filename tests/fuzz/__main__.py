"""`python -m tests.fuzz --cases 20000`: damaged files of every kind, each read in a process with limits.

None may crash, print a traceback, take 5 seconds or 500 MB, or run anything of the file. Exit code 1 if one does.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import campaign


def main() -> int:
    """Run and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--minutes", type=float, help="stop after so many, with the table of what was run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="where files that fail are kept")
    given = parser.parse_args()

    def told(number: int) -> None:
        if number % 500 == 0:
            print(f"{number:,} of {given.cases:,}", file=sys.stderr, flush=True)

    end = time.monotonic() + 60.0 * (given.minutes or 1e6)
    tallies = campaign(given.cases, given.seed, given.keep, told, lambda: time.monotonic() > end)
    print("| file | cases | read | refused | failures | slowest, s | largest, MB |\n|---|---:|---:|---:|---|---:|---:|")
    for kind, tally in sorted(tallies.items()):
        failures = ", ".join(f"{n} {what}" for what, n in tally.failures.items()) or "0"
        read = tally.codes[0] + tally.codes[1]
        counts = f"{tally.cases:,} | {read:,} | {tally.codes[2]:,} | {failures}"
        print(f"| {kind} | {counts} | {tally.slowest:.1f} | {tally.largest} |")
    return int(any(tally.failures for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
