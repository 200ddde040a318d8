"""What a whole process costs, against the plainest way to do the least: `python -m benchmarks.inspect_process`.

Four pairs, each run in turn in fresh processes, median time ratios and peak resident memory:
`normdiag --help` against `import torch`; static inspection of a ResNet50-size .onnx and of one of 1 MB against
`onnx.load`; static inspection of a ResNet18-size state dict against `torch.load`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.processes import NORMDIAG, Pair, apart, compare, python


def write_models(onnx_file: Path, torch_file: Path) -> None:
    """A ResNet50 as ONNX (102 MB), and a state dict of as many values as a ResNet18 (46 MB)."""
    import torch

    from benchmarks.inspect_onnx import export
    from benchmarks.nets import NETS

    export("resnet50", onnx_file, batch=16, image=224)
    weights = NETS["resnet50"]().state_dict()
    kept = {name: value for name, value in weights.items() if not name.startswith("layer4")}
    torch.save(kept | {"fill.weight": torch.randn(1000, 2975)}, torch_file)


def write_small(path: Path) -> None:
    """Eleven convolutions, each with BatchNormalization and Relu: 1.2 MB."""
    import numpy as np
    from onnx import helper

    from tests.nets.onnx.nodes import from_nodes, save

    random, nodes, weights, x, inputs = np.random.default_rng(0), [], {}, "x", 3
    for index, outputs in enumerate((32, 32, 48, 48, *(64,) * 7)):
        kernel = random.normal(size=(outputs, inputs, 3, 3)).astype(np.float32)
        norm = {name: np.abs(random.normal(1, 0.1, outputs)).astype(np.float32) for name in "gbmv"}
        weights |= {f"{name}{index}": value for name, value in ({"w": kernel} | norm).items()}
        nodes += [
            helper.make_node("Conv", [x, f"w{index}"], [f"c{index}"], name=f"conv{index}", pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [f"c{index}", *(f"{n}{index}" for n in "gbmv")], [f"n{index}"]),
            helper.make_node("Relu", [f"n{index}"], [f"r{index}"]),
        ]
        x, inputs = f"r{index}", outputs
    save(from_nodes(nodes, {"x": ["n", 3, 32, 32]}, [x], weights), path)


def prepare(folder: Path) -> Iterator[Pair]:
    """Write the two models, and pair up."""
    onnx_file, torch_file = folder / "resnet50.onnx", folder / "resnet18_size.pt"
    small = folder / "small.onnx"
    apart(write_models, onnx_file, torch_file)
    apart(write_small, small)
    load_onnx = "import onnx, sys; onnx.load(sys.argv[1])"
    load_torch = "import torch, sys; torch.load(sys.argv[1], map_location='cpu')"
    yield Pair("--help", (*NORMDIAG, "--help"), python("import torch"), 0.25)
    yield Pair("static .onnx", (*NORMDIAG, "inspect", str(onnx_file)), python(load_onnx, onnx_file), 2)
    yield Pair("static .onnx of 1 MB", (*NORMDIAG, "inspect", str(small)), python(load_onnx, small), 2)
    yield Pair("static state dict", (*NORMDIAG, "inspect", str(torch_file)), python(load_torch, torch_file), 0.3)


def main() -> None:
    compare(__doc__, prepare)


if __name__ == "__main__":
    main()
