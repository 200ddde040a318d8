"""What `normdiag recalibrate` is worth: `python -m benchmarks.recalibrate [tools] [cases]`; both if none.

tools: error, time and memory beside fvcore's update_bn_stats and torch's update_bn, and what each refuses.
cases: faults that people report, repaired, and those that it must not touch. Markdown for docs/recalibrate.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

PARTS = ("tools", "cases")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="tools|cases")
    for part in parser.parse_args().parts or PARTS:
        if part not in PARTS:
            parser.error(f"no part {part!r}; there are {', '.join(PARTS)}")
        print(f"\n## {part}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.recalibrate_{part}"], check=True)


if __name__ == "__main__":
    main()
