"""Every tool on the test zoo of small ONNX graphs, one pattern each: what it folds, misses, breaks or gets wrong.

The zoo says of each graph how many norms can go. A result is *folded* where it is right and no more norms are left
than need be, *less* where it is right with norms left over, *wrong* where outputs differ by more than rounding,
*broken* where the file does not load or run, and *fails* where there is none.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from benchmarks.fold_tools import ONNX_TOOLS
from tests.folding.test_zoo_onnx import FAMILIES
from tests.folding.zoo.case import OnnxCase
from tests.folding.zoo.oracle import TOLERANCE, feeds
from tests.nets.onnx.values import session

VERDICTS = ("folded", "less", "wrong", "broken", "fails")
DTYPE = "float32"


def table(folder: Path) -> str:
    """A markdown table: tools by verdict, and a line on what each got wrong."""
    cases = list(patterns(folder))
    rows = [f"| tool | {' | '.join(VERDICTS)} |", f"|---|{'---|' * len(VERDICTS)}"]
    wrong = []
    for tool in ONNX_TOOLS:
        if tool == "normdiag --no-verify":
            continue
        verdicts = judge(tool, cases, folder)
        counts = Counter(verdicts.values())
        rows.append(f"| {tool} | {' | '.join(str(counts[verdict]) for verdict in VERDICTS)} |")
        names = [name for name, verdict in verdicts.items() if verdict in ("wrong", "broken")]
        wrong.append(f"- {tool}: {', '.join(names) or 'none'}")
    return "\n".join([f"{len(cases)} graphs.\n", *rows, "\nWrong or broken:\n", *wrong])


def patterns(folder: Path) -> Iterator[tuple[OnnxCase, Path]]:
    """The graphs that a runtime can run, as files."""
    for family, module in FAMILIES.items():
        for case in module.ZOO.cases:
            if case.runs and DTYPE in case.dtypes and case.norms == frozenset({"batch"}) and case.folded is not None:
                path = folder / f"{family}-{case.name}.onnx"
                onnx.save(case.model(DTYPE), path)
                yield case, path


def judge(tool: str, cases: Sequence[tuple[OnnxCase, Path]], folder: Path) -> dict[str, str]:
    """The verdict on each graph."""
    results = folder / "results" / tool
    results.mkdir(parents=True)
    jobs = [(path, results / path.name) for _, path in cases]
    while jobs:  # a tool that takes its process down loses the graph that it was at, and goes on with the next
        lines = "".join(f"{source}\t{target}\n" for source, target in jobs)
        command = [sys.executable, "-m", "benchmarks.fold_tools", tool, "--jobs"]
        done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
        jobs = jobs[done.stdout.count("done\n") + 1 :] if done.returncode else []
    return {path.stem: verdict(case, path, results / path.name) for case, path in cases}


def verdict(case: OnnxCase, source: Path, target: Path) -> str:
    """One of VERDICTS."""
    if not target.exists():
        return "fails"
    before = onnx.load(source)
    try:
        after = onnx.load(target)
        same = agree(before, after)
    except Exception:  # onnx and onnxruntime have no common base class
        return "broken"
    if not same:
        return "wrong"
    return "folded" if norms(after) <= norms(before) - operators(case) else "less"


def operators(case: OnnxCase) -> int:
    """How many BatchNormalization nodes need not be left: those of the graph less those of the expected result."""
    expected = min(text.split().count("BatchNormalization") for text in case.becomes.split("|"))
    return norms(case.model(DTYPE)) - expected


def norms(model: onnx.ModelProto) -> int:
    """BatchNormalization nodes of the main graph."""
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)


def agree(before: onnx.ModelProto, after: onnx.ModelProto) -> bool:
    """Same outputs but for rounding, on inputs of several sizes and magnitudes."""
    one, other = session(before), session(after)
    names = [output.name for output in before.graph.output]
    for feed in feeds(before):
        for a, b in zip(one.run(names, feed), other.run(names, feed), strict=True):
            size = max(float(np.abs(a).max(initial=0)), 1e-30)
            if (
                a.shape != b.shape
                or not np.abs(a.astype(float) - b.astype(float)).max(initial=0) <= TOLERANCE[DTYPE] * size
            ):
                return False
    return True
