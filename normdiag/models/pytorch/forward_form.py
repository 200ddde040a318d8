"""What the signature of a module's forward says of the batches that it takes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from normdiag.models.pytorch.layers import unwrap
from normdiag.records import BatchForm

_LIST = re.compile(r"\b(list|List|Sequence)\[(torch\.)?Tensor\]")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def forward_form(module: nn.Module) -> BatchForm:
    """How many arrays it cannot do without, and whether the first is a list of one tensor for each sample.

    A signature that says nothing, as that of TorchScript, is taken for one of a single input.
    """
    parameters = _parameters(module)
    needed = [name for name, each in parameters.items() if each.kind in _POSITIONAL and each.default is each.empty]
    first = next(iter(parameters.values()), None)
    lists = first is not None and first.annotation is not first.empty and bool(_LIST.search(_text(first.annotation)))
    return BatchForm(max(len(needed), 1), tuple(needed), lists)


def taken(module: nn.Module, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of these named values that the forward takes."""
    parameters = _parameters(module)
    anything = not parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return {name: value for name, value in values.items() if anything or name in parameters}


def _parameters(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(unwrap(module).forward).parameters
    except (TypeError, ValueError):  # a callable that says nothing of its arguments
        return {}


def _text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else repr(annotation).replace("typing.", "")
