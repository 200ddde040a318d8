"""A sum over the windows of a pool: how many there are decides what becomes of a shift."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from tests.folding.zoo.oracle import same_outputs
from tests.folding.zoo.run import fold_onnx
from tests.nets.onnx.net import OnnxNet

KERNELS = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1))  # and how much is padded on each side


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool"])
def test_sums_over_windows_in_ceil_mode(kind: str, tmp_path: Path) -> None:
    """The output is the same; where runtimes count windows differently, the shift stays as an Add."""
    shifts = 0
    for size, (kernel, pad), step in product((5, 6, 7), KERNELS, (1, 2, 3)):
        g = OnnxNet(opset=17)
        pool = {"kernel_shape": [kernel] * 2, "strides": [step] * 2, "pads": [pad] * 4, "ceil_mode": 1}
        y = g.op(kind, g.conv(g.input("N", 3, size, size), 3, 4, 1), **pool)
        y = g.op("ReduceSum", y, g.value([2, 3]))
        g.output(g.op("Relu", g.bn(y, 4, sign=1)))
        outcome = fold_onnx(model := g.model(), tmp_path)
        same_outputs(model, outcome.model, "float32")
        shifts += sum(step.shift_stays for step in outcome.plan.steps)
        assert not outcome.plan.refusals
    assert shifts == 9
