"""What norms return in place of what PyTorch's kernels do: with sums stored in half precision, or in float32."""

from __future__ import annotations

from torch import Tensor

from normdiag.observe.pytorch.norms import NormCall
from normdiag.observe.pytorch.plain_norms import in_float32, step_by_step


class NormKernels:
    """A listener (`normdiag.observe.pytorch.passes.Listener`) that computes norms itself where that is asked for."""

    def __init__(self, kept: frozenset[str], modules: frozenset[str], *, stored_sums: bool) -> None:
        """`kept` stay in float32; those of them that are `modules` were made so already, and run by themselves."""
        self._kept, self._modules, self._stored = kept, modules, stored_sums

    def norm(self, name: str, call: NormCall) -> Tensor | None:
        """The output to use, or None for the function's own."""
        if name in self._modules:
            return None
        if name in self._kept:
            return in_float32(call)
        return step_by_step(call) if self._stored else None

    def activation(self, *_: object) -> bool:
        """They run by themselves."""
        return False
