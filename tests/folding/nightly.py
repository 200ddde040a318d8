"""Random networks by the ten thousand: fold each, compare the outputs, count the folds.

    python -m tests.folding.nightly --examples 10000 [--seed 7]

runs the tests of `test_random_onnx.py` and `test_random_torch.py` with that many ONNX networks (half as many again with
constants in between, and a quarter as many PyTorch networks, whose export is slow) and ends with pytest's exit code. On
one core a thousand examples take about two minutes. What fails is reduced to a small network, printed with the seed.
"""

from __future__ import annotations

import argparse
import os
import sys

import pytest


def main() -> int:
    parser = argparse.ArgumentParser(description="Random folds by the ten thousand.")
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, help="of Hypothesis; without it every run draws other networks")
    options = parser.parse_args()
    os.environ["NORMDIAG_FOLD_EXAMPLES"] = str(options.examples)
    os.environ.pop("CI", None)  # where the examples would be the same each night
    seed = [] if options.seed is None else [f"--hypothesis-seed={options.seed}"]
    tests = ["tests/folding/test_random_onnx.py", "tests/folding/test_random_torch.py"]
    return int(pytest.main([*tests, "-q", "--timeout=0", "--show-capture=no", *seed]))


if __name__ == "__main__":
    sys.exit(main())
