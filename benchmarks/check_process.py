"""What `normdiag check` costs as a whole process: `python -m benchmarks.check_process [--rounds 7]`.

Static checks, each run in turn with the plainest way to do the least, in fresh processes: a ResNet50-size .onnx against
`onnx.load`, and 100 small models in one call against loading their files. Medians of the ratios, of the clock and of
processor time, which other work on the machine disturbs less; peak resident memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).resolve().parents[1] / "sample_models"
CHECK = [sys.executable, "-m", "normdiag", "check", "--quiet"]


def write_resnet50(path: Path) -> None:
    """102 MB, with its 53 BatchNorm layers left in."""
    from benchmarks.inspect_onnx import export

    export("resnet50", path, batch=16, image=224)


def write_small(folder: Path, suffix: str, count: int) -> None:
    """Copies of the sample models with this suffix, in turn."""
    folder.mkdir()
    files = sorted(path for path in FOLDER.glob(f"*{suffix}") if "module" not in path.name)
    for index, path in enumerate(islice(cycle(files), count)):
        shutil.copy(path, folder / f"{index:03d}_{path.name}")


def environment() -> dict[str, str]:
    """With compiled bytecode, as an installed package has it; here it lies in the folder for temporary files."""
    given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    prefix = Path(tempfile.gettempdir()) / "normdiag-bytecode"
    return {**given, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPYCACHEPREFIX": str(prefix)}


def cost(command: Sequence[str], accepted: tuple[int, ...] = (0,)) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak resident MiB of one fresh process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in accepted:
        raise SystemExit(f"failed: {' '.join(command)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def row(name: str, ours: Sequence[str], plain: Sequence[str], target: str, rounds: int) -> str:
    """One line of the table. The first round only warms the caches of the file system; findings are no failure."""
    runs = [(cost(ours, (0, 1)), cost(plain)) for _ in range(rounds + 1)][1:]
    seconds, plain_seconds = (median(run[side][0] for run in runs) for side in (0, 1))
    ratio, processor = (median(a[i] / b[i] for a, b in runs) for i in (0, 1))
    memory, plain_memory = (median(run[side][2] for run in runs) for side in (0, 1))
    return (
        f"| {name} | {seconds:.2f} s | {plain_seconds:.2f} s | **{ratio:.2f}** | {processor:.2f} | {target} "
        f"| {memory:.0f} MiB | {plain_memory:.0f} MiB |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| command | normdiag | plain | time ratio | processor time ratio | target | memory | plain |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # In a process of its own: a child's peak memory begins at its parent's.
        writer = get_context("spawn").Process(target=write_resnet50, args=(folder / "resnet50.onnx",))
        writer.start()
        writer.join()
        large = str(folder / "resnet50.onnx")
        plain = [sys.executable, "-c", f"import onnx; onnx.load({large!r})"]
        print(row("ResNet50-size .onnx", [*CHECK, large], plain, "2.0", rounds), flush=True)
        for name, suffix, load in (
            ("100 small .onnx", ".onnx", "import onnx, sys; [onnx.load(path) for path in sys.argv[1:]]"),
            ("100 small .pt", ".pt", "import torch, sys; [open(path, 'rb').read() for path in sys.argv[1:]]"),
        ):
            small = folder / suffix[1:]
            write_small(small, suffix, 100)
            plain = [sys.executable, "-c", load, *map(str, sorted(small.iterdir()))]
            print(row(name, [*CHECK, str(small)], plain, "-", rounds), flush=True)


if __name__ == "__main__":
    main()
