"""Every tool that folds BatchNorm, after one signature: `python -m benchmarks.fold_tools TOOL IN OUT`.

Prints one JSON line: the seconds from file to file without imports, and the peak resident MiB of the process. The
ONNX tools take and write .onnx; the PyTorch ones take a live module (see benchmarks.fold). The others come with `pip
install -e '.[bench]'`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Work = Callable[[Path, Path], None]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def normdiag_proven() -> Work:
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401

    import normdiag
    import normdiag.commands.fold
    import normdiag.folding.onnx
    import normdiag.models.onnx

    return lambda source, target: _check(normdiag.fold(source, output=target).report.written)


def normdiag_alone() -> Work:
    import onnx  # noqa: F401

    import normdiag
    import normdiag.commands.fold
    import normdiag.folding.onnx
    import normdiag.models.onnx

    return lambda source, target: _check(normdiag.fold(source, output=target, verify=False).report.written)


def onnxoptimizer() -> Work:
    import onnx
    import onnxoptimizer

    passes = ["eliminate_unused_initializer", "fuse_bn_into_conv", "fuse_add_bias_into_conv"]
    return lambda source, target: onnx.save(onnxoptimizer.optimize(onnx.load(source), passes), target)


def onnxsim() -> Work:
    import onnx
    import onnxsim

    def work(source: Path, target: Path) -> None:
        simplified, right = onnxsim.simplify(onnx.load(source))
        _check(right)
        onnx.save(simplified, target)

    return work


def onnxslim() -> Work:
    import onnx
    import onnxslim

    return lambda source, target: onnx.save(onnxslim.slim(onnx.load(source)), target)


def onnxscript() -> Work:
    import onnx_ir
    from onnxscript.rewriter import rewrite
    from onnxscript.rewriter.rules.common._fuse_batchnorm import rules

    def work(source: Path, target: Path) -> None:
        model = onnx_ir.load(source)
        onnx_ir.save(rewrite(model, pattern_rewrite_rules=rules), target)

    return work


def onnxruntime() -> Work:
    import onnxruntime as ort

    def work(source: Path, target: Path) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 4
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])

    return work


ONNX_TOOLS: Mapping[str, Callable[[], Work]] = {
    "normdiag": normdiag_proven,
    "normdiag --no-verify": normdiag_alone,
    "onnxoptimizer": onnxoptimizer,
    "onnxsim": onnxsim,
    "onnxslim": onnxslim,
    "onnxscript": onnxscript,
    "onnxruntime": onnxruntime,
}


def _check(right: object) -> None:
    if not right:
        raise SystemExit("the tool says itself that its result is wrong")


def many(work: Work) -> None:
    """Each job of stdin; a line after each, whether or not it came to a result."""
    for line in sys.stdin.read().splitlines():
        source, target = map(Path, line.split("\t"))
        with contextlib.suppress(Exception):
            work(source, target)
        print("\ndone", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=ONNX_TOOLS)
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("target", type=Path, nargs="?")
    parser.add_argument("--jobs", action="store_true", help="read lines of SOURCE, a tab, TARGET")
    given = parser.parse_args()
    work = ONNX_TOOLS[given.tool]()
    if given.jobs:
        many(work)
        return
    start = time.perf_counter()
    work(given.source, given.target)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


if __name__ == "__main__":
    main()
