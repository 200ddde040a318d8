"""What `normdiag inspect` costs: `python -m benchmarks.inspect [torch] [onnx] [process]`, all three by default.

torch and onnx: watching a model, against the forwards that any comparison needs. process: whole commands without data.
Each prints a markdown table; docs/benchmarks.md holds them with the machine they were measured on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

PARTS = ("torch", "onnx", "process")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="torch|onnx|process")
    for part in parser.parse_args().parts or PARTS:
        if part not in PARTS:
            parser.error(f"no part {part!r}; there are {', '.join(PARTS)}")
        print(f"\n## {part}\n", flush=True)
        # Each in a process of its own: a library loaded for one part must not weigh on the next.
        subprocess.run([sys.executable, "-m", f"benchmarks.inspect_{part}"], check=True)


if __name__ == "__main__":
    main()
