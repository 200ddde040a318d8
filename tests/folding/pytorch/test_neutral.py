"""The value of a stored parameter with which a norm's scale is 1 and its shift 0, found from what the code computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from normdiag.folding.pytorch.neutral import neutral_value

Scale = Callable[[Tensor, Tensor], Tensor]


class Scaled(nn.Module):
    """x times what a function makes of the parameter."""

    def __init__(self, scale: Scale, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -0.25, 2.0], dtype=dtype))
        self.other = nn.Parameter(torch.ones(3))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(self.weight, self.other)


def found(scale: Scale, wanted: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor | None:
    program = torch.export.export(Scaled(scale, dtype), (torch.zeros(2, 3),))
    product = [node for node in program.graph.nodes if node.op == "call_function"][-1]
    neutral = neutral_value(program, product.args[1].name, wanted)
    assert neutral is None or neutral.name == "weight"
    return None if neutral is None else neutral.value


@pytest.mark.parametrize(
    ("scale", "wanted", "expected"),
    [
        (lambda w, _: w, 1.0, 1.0),
        (lambda w, _: w, 0.0, 0.0),
        (lambda w, _: 1.0 + w, 1.0, 0.0),
        (lambda w, _: 1.0 + w.float(), 1.0, 0.0),
        (lambda w, _: 2.0 * w, 1.0, 0.5),
        (lambda w, _: (w - 1.0) * 0.25, 0.0, 1.0),
    ],
)
def test_found_from_what_is_computed(scale: Scale, wanted: float, expected: float) -> None:
    value = found(scale, wanted)
    assert value is not None and value.tolist() == [expected] * 3


def test_in_the_dtype_that_is_stored() -> None:
    value = found(lambda w, _: 1.0 + w.float(), dtype=torch.bfloat16)
    assert value is not None and value.dtype == torch.bfloat16 and value.tolist() == [0.0] * 3


@pytest.mark.parametrize(
    "scale",
    [
        lambda w, other: w + other,  # of two tensors
        lambda w, _: torch.exp(w * 3.0) + 1.0,  # never 1
        lambda w, _: w * 0.0 + 2.0,
        lambda w, _: w / w.sum(),  # each number depends on the others
    ],
)
def test_none_where_there_is_no_such_value(scale: Scale) -> None:
    assert found(scale) is None
