"""Making a fixed number of samples free in a torch.export program, where running shows that the result is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx, nn

from normdiag.models.pytorch.arrays import Array, to_tensor
from normdiag.models.pytorch.declared import declared_inputs
from normdiag.models.pytorch.layers import unwrap
from normdiag.observe.pytorch.batch_rewrite import with_free_batch
from normdiag.observe.pytorch.usual_inputs import made_up_batch, outputs_of, with_batch
from normdiag.records import InputSpec, Model

# Relative and absolute: far above float32 noise, far below what mixing up samples does.
_SAME = 1e-3


@dataclass(frozen=True, eq=False)
class FreedModule:
    """The module to run, and the only number of samples that it takes (None: any)."""

    module: nn.Module
    fixed_batch: int | None = None


def free_batch(model: Model) -> FreedModule:
    """The module of a model, or one over the same parameters that takes any number of samples where it takes one only.

    Only a program of torch.export says that it does. The module itself is left as it is.
    """
    module = unwrap(model.program)
    specs = model.suggested or declared_inputs(module)
    samples = (specs[0].shape or (None,))[0] if specs else None
    if samples is None or takes_any(module, module, specs):
        return FreedModule(module)
    candidate = _rewritten(module, specs) if isinstance(module, fx.GraphModule) else None
    if candidate is not None and takes_any(candidate, module, specs):
        return FreedModule(candidate)
    return FreedModule(module, samples)


def takes_any(module: nn.Module, original: nn.Module, specs: Sequence[InputSpec]) -> bool:
    """Whether a module treats one sample more just as the original treats as many as it was exported for."""
    size = ((specs[0].shape or (None,))[0] or 1) if specs else 1
    more = made_up_batch([with_batch(spec, size + 1) for spec in specs])
    if more is None:
        return False
    found = outputs_of(module, more)
    return bool(found) and all(
        _same(found, outputs_of(original, more.rows(rows)), rows) for rows in (slice(size), slice(1, size + 1))
    )


def _same(found: dict[str, Array], expected: dict[str, Array], rows: slice) -> bool:
    return bool(expected) and all(
        name in found and found[name].shape[1:] == value.shape[1:] and _alike(found[name][rows], value)
        for name, value in expected.items()
    )


def _alike(found: Array, expected: Array) -> bool:
    if found.shape != expected.shape:
        return False
    return np.allclose(np.asarray(found, np.float64), np.asarray(expected, np.float64), _SAME, _SAME, equal_nan=True)


def _rewritten(module: fx.GraphModule, specs: Sequence[InputSpec]) -> fx.GraphModule | None:
    batch = made_up_batch(specs)
    if batch is None:
        return None
    device = next((each.device for each in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    try:
        return with_free_batch(module, [to_tensor(array).to(device) for array in batch.arrays])
    except Exception:  # a graph of a kind that is not known: it stays as it is
        return None
