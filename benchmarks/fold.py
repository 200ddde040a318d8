"""`normdiag fold` beside other tools: what is folded, how right, at what cost: `python -m benchmarks.fold [part ...]`.

tools: norms left and error for each ONNX tool and model. torch: the same for tools that take a module. patterns: the
test zoo of small graphs, one pattern each. cost: seconds and peak memory from file to file, interleaved, in fresh
processes. Needs `pip install -e '.[dev,bench]'`. Prints markdown tables; docs/benchmarks.md holds them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.fold_models import write_large, write_net, write_nets
from benchmarks.fold_tools import ONNX_TOOLS
from benchmarks.processes import apart

OTHERS = [tool for tool in ONNX_TOOLS if tool != "normdiag --no-verify"]


def run_tool(tool: str, source: Path, target: Path, timeout: float = 900) -> Mapping[str, float] | str:
    """The tool in a process of its own: its costs, or in one word why there is no result."""
    target.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.fold_tools", tool, str(source), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return "timeout"
    if done.returncode or not target.exists():
        return "fails"
    result: Mapping[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def norms_left(path: Path) -> int:
    """BatchNormalization nodes in the file."""
    import onnx

    return sum(node.op_type == "BatchNormalization" for node in onnx.load(path, load_external_data=False).graph.node)


def outputs(path: Path, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What onnxruntime computes without optimizations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return list(ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, dict(feed)))


def feed_for(path: Path) -> dict[str, np.ndarray]:
    """Seeded normal inputs of the declared shapes; free dimensions are 1."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    rng = np.random.default_rng(0)
    shapes = {
        value.name: [d.dim_value if d.dim_value > 0 else 1 for d in value.type.tensor_type.shape.dim]
        for value in graph.input
        if value.name not in stored
    }
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def error(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """max|a - b| over max|a|, of the worst output; infinite where the numbers are not."""
    worst = 0.0
    for one, other in zip(a, b, strict=True):
        wide, size = np.asarray(one, np.float64), max(float(np.abs(one).max()), 1e-30)
        difference = float(np.abs(wide - np.asarray(other, np.float64)).max()) / size
        worst = max(worst, difference if np.isfinite(difference) else np.inf)
    return worst


def tools(folder: Path) -> None:
    """Norms left and error, for each tool and model."""
    print(f"| model | norms | {' | '.join(OTHERS)} |\n|---|---|{'---|' * len(OTHERS)}")
    for name, path in write_nets(folder):
        feed = feed_for(path)
        before = outputs(path, feed)
        cells = [outcome(tool, path, folder / "folded.onnx", feed, before) for tool in OTHERS]
        print(f"| {name} | {norms_left(path)} | {' | '.join(cells)} |", flush=True)


def outcome(tool: str, source: Path, target: Path, feed: Mapping[str, np.ndarray], before: Sequence[np.ndarray]) -> str:
    """'0 left, 3e-07'."""
    result = run_tool(tool, source, target)
    if isinstance(result, str):
        return result
    try:
        return f"{norms_left(target)} left, {error(before, outputs(target, feed)):.0e}"
    except Exception:  # a result that does not load or run: onnx and onnxruntime have no common base class
        return "result does not run"


def cost(folder: Path, rounds: int = 5) -> None:
    """File to file, every tool in turn, `rounds` times after one that warms the caches."""
    models = {"resnet50 (102 MB)": folder / "resnet50.onnx", "MatMul chain (1.1 GB)": folder / "large.onnx"}
    apart(write_net, "resnet50", folder / "resnet50.onnx")
    apart(write_large, folder / "large.onnx")
    print("| model | tool | seconds | of normdiag's | peak memory, MiB |\n|---|---|---|---|---|")
    for name, path in models.items():
        runs: dict[str, list[Mapping[str, float] | str]] = {tool: [] for tool in ONNX_TOOLS}
        for _ in range(rounds + 1):
            for tool, results in runs.items():
                results.append(run_tool(tool, path, folder / "folded.onnx"))
        for tool, results in runs.items():
            print(cost_row(name, tool, results[1:], runs["normdiag --no-verify"][1:]), flush=True)


def cost_row(name: str, tool: str, results: Sequence[Any], ours: Sequence[Any]) -> str:
    """Medians; the ratio is the median of the rounds' ratios."""
    if any(isinstance(result, str) for result in results):
        return f"| {name} | {tool} | {results[-1]} | | |"
    seconds, peak = (median(result[key] for result in results) for key in ("seconds", "peak_mib"))
    ratio = median(a["seconds"] / b["seconds"] for a, b in zip(results, ours, strict=True))
    return f"| {name} | {tool} | {seconds:.2f} | {ratio:.2f} | {peak:.0f} |"


def torch(_: Path) -> None:
    """The tools that take a module."""
    from benchmarks.fold_torch import table

    print(table())


def patterns(folder: Path) -> None:
    """The test zoo."""
    from benchmarks.fold_patterns import table

    print(table(folder))


PARTS: Mapping[str, Callable[[Path], None]] = {"tools": tools, "torch": torch, "patterns": patterns, "cost": cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="|".join(PARTS))
    for part in parser.parse_args().parts or PARTS:
        if part not in PARTS:
            parser.error(f"no part {part!r}; there are {', '.join(PARTS)}")
        print(f"\n## {part}\n", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder))


if __name__ == "__main__":
    main()
