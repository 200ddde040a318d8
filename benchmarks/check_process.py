"""What `normdiag check` costs as a whole process: `python -m benchmarks.check_process [--rounds 7]`.

Static checks, each run in turn with the plainest way to do the least, in fresh processes: a ResNet50-size .onnx against
`onnx.load`, and 100 small models in one call against loading their files. Medians of the ratios, of the clock and of
processor time, which other work on the machine disturbs less; peak resident memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from benchmarks.processes import NORMDIAG, Pair, apart, compare, python

FOLDER = Path(__file__).resolve().parents[1] / "sample_models"
CHECK = (*NORMDIAG, "check", "--quiet")
LOAD = "import onnx, sys; onnx.load(sys.argv[1])"
LOAD_ALL = {
    ".onnx": "import onnx, sys; [onnx.load(path) for path in sys.argv[1:]]",
    ".pt": "import torch, sys; [open(path, 'rb').read() for path in sys.argv[1:]]",
}


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


def prepare(folder: Path) -> Iterator[Pair]:
    """The large model, then the small ones of each format."""
    large = folder / "resnet50.onnx"
    apart(write_resnet50, large)
    yield Pair("ResNet50-size .onnx", (*CHECK, str(large)), python(LOAD, large), 2)
    for suffix, load in LOAD_ALL.items():
        small = folder / suffix[1:]
        write_small(small, suffix, 100)
        yield Pair(f"100 small {suffix}", (*CHECK, str(small)), python(load, *sorted(small.iterdir())))


def main() -> None:
    compare(__doc__, prepare)


if __name__ == "__main__":
    main()
