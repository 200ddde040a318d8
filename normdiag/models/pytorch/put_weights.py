"""Tensors into a module whose code is that of the version that is installed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def put_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy the tensors that the module has by these names into it; their shapes must be its own.

    torch's state dicts say which version of each module's code wrote them. A dict that does not counts as the oldest,
    which torchvision's MNASNet refuses or rebuilds itself for; what has the module's own shapes is in its own version.
    """
    versioned: Any = OrderedDict(tensors)
    versioned._metadata = getattr(module.state_dict(), "_metadata", None)
    module.load_state_dict(versioned, strict=False)
