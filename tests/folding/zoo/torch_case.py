"""What one PyTorch entry of the zoo says, and modules to write them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Shapes = Sequence[tuple[int, ...]]
# Operators that a fold removes or leaves; the others of a program are not counted.
NORMS = ("batch_norm", "instance_norm", "layer_norm", "rms_norm", "group_norm")
COUNTED = (*NORMS, "add", "sub", "rsub", "mul", "div", "neg")


@dataclass(frozen=True)
class TorchCase:
    """One module and what folding must make of it.

    `shapes` are those of its inputs, the batch first. `left`: the norms and elementwise arithmetic in the folded
    program, in order; several readings are divided by `|`. `refused`: a regular expression for the reason of each norm
    that stays. `folded` None: open.
    """

    name: str
    build: Callable[[], nn.Module]
    shapes: Shapes
    left: str = ""
    folded: int | None = 1
    refused: tuple[str, ...] = ()
    norms: frozenset[str] = frozenset({"batch"})

    def module(self) -> nn.Module:
        """In eval mode and float64."""
        torch.manual_seed(sum(map(ord, self.name)))
        return scrambled(self.build()).double()

    def inputs(self, batch: int | None = None, magnitude: float = 1.0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(len(self.name))
        shapes = [(batch or shape[0], *shape[1:]) for shape in self.shapes]
        return tuple(torch.randn(*s, generator=generator, dtype=torch.float64) * magnitude + 0.3 for s in shapes)


class Zoo:
    """The cases of one file."""

    def __init__(self) -> None:
        self.cases: list[TorchCase] = []

    def add(self, name: str, build: Callable[[], nn.Module], *shapes: tuple[int, ...], **options: Any) -> None:
        self.cases.append(TorchCase(name, build, shapes, **options))

    def case(self, *shapes: tuple[int, ...], **options: Any) -> Callable[[Callable[[], nn.Module]], None]:
        """The decorated function returns the module, or is the class of it."""

        def keep(build: Callable[[], nn.Module]) -> None:
            self.add(build.__name__, build, *shapes, **options)

        return keep


def scrambled(module: nn.Module) -> nn.Module:
    """Eval mode, with random affine parameters (a zero, a negative one and large ones among them) and statistics."""
    module.eval()
    with torch.no_grad():
        for part in module.modules():
            scramble(part)
    return module


def scramble(part: nn.Module) -> None:
    for name, draw in (("running_mean", torch.randn_like), ("running_var", lambda t: torch.rand_like(t) * 3 + 0.2)):
        held = getattr(part, name, None)
        if isinstance(held, Tensor):
            held.copy_(draw(held))
    gamma, beta = getattr(part, "weight", None), getattr(part, "bias", None)
    if isinstance(gamma, Tensor) and "Norm" in type(part).__name__ and not getattr(part, "parametrizations", None):
        gamma.copy_(torch.randn_like(gamma) + 0.5)
        if getattr(part, "positive", False):
            gamma.copy_(gamma.abs() + 0.1)
        else:
            gamma.view(-1)[:2] = torch.tensor([-0.7, 0.0])[: gamma.numel()]
        if isinstance(beta, Tensor):
            beta.copy_(torch.randn_like(beta))


def positive(norm: nn.Module) -> nn.Module:
    """All scales above zero."""
    norm.positive = True  # type: ignore[assignment]
    return norm
