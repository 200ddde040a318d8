"""Peak memory of `normdiag inspect MODEL --data`, whole, against the plainest program that runs the same batches.

    python -m benchmarks.memory [--batch 16] [--batches 4] MODEL.onnx[=SHAPE,...] ...

Both are fresh processes, and their peaks are those that the system counts, libraries included. The plain one opens
the model in onnxruntime as it comes, reads a batch from the same mapped files, runs it, and drops what comes out. Free
sizes of an input are given as the shape of one sample, as net.onnx=3,224,224; several inputs are separated by slashes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.processes import NORMDIAG, cost, python

PLAIN = """
import sys
import numpy as np
import onnxruntime
path, size, *files = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
data = {name: np.load(file, mmap_mode="r") for name, file in (each.rsplit("=", 1) for each in files)}
size, total = int(size), len(next(iter(data.values())))
for start in range(0, total, size):
    session.run(None, {name: np.ascontiguousarray(x[start : start + size]) for name, x in data.items()})
"""


@dataclass(frozen=True)
class Peaks:
    """Of one model, in MiB."""

    model: str
    plain: float
    inspect: float


def inputs(path: Path, given: Sequence[str], samples: int, folder: Path) -> list[str]:
    """NAME=FILE for each input of the model, with random numbers of the shapes `given` or declared."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constant = {each.name for each in graph.initializer}
    wanted = [each for each in graph.input if each.name not in constant]
    random, files = np.random.default_rng(0), []
    for index, each in enumerate(wanted):
        tensor = each.type.tensor_type
        shape = [d.dim_value for d in tensor.shape.dim][1:]
        if index < len(given):
            shape = [int(size) for size in given[index].split(",")]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        values = (
            random.standard_normal((samples, *shape)) if dtype.kind == "f" else random.integers(0, 2, (samples, *shape))
        )
        np.save(folder / f"{index}.npy", values.astype(dtype))
        files.append(f"{each.name}={folder / f'{index}.npy'}")
    return files


def peaks(model: str, batch: int, batches: int) -> Peaks:
    """Both peaks for one model and its shapes."""
    name, _, shapes = model.partition("=")
    path = Path(name)
    with tempfile.TemporaryDirectory() as scratch:
        files = inputs(path, [each for each in shapes.split("/") if each], batch * batches, Path(scratch))
        plain = cost(python(PLAIN, path, str(batch), *files))
        data = [word for each in files for word in ("--data", each)]
        ours = cost(
            [*NORMDIAG, "inspect", name, *data, "--batch-size", str(batch), "--preprocess", "raw", "-q"], (0, 1)
        )
    return Peaks(f"{path.parent.name}/{path.name}", plain.memory, ours.memory)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL[=SHAPE[/SHAPE]]")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4)
    args = parser.parse_args()
    print("| model | samples in a batch | plain, MiB | inspect, MiB | ratio |")
    print("|---|---|---|---|---|", flush=True)
    for each in args.models:
        found = peaks(each, args.batch, args.batches)
        ratio = found.inspect / found.plain
        print(
            f"| {found.model} | {args.batch} | {found.plain:.0f} | {found.inspect:.0f} | **{ratio:.2f}** |", flush=True
        )


if __name__ == "__main__":
    main()
