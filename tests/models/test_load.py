"""From a path to a Model: what is common to all formats."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from normdiag.errors import InputError
from normdiag.models import LoadOptions, from_module, load


def test_a_model_with_lazy_modules_is_refused_in_one_line_however_it_comes(tmp_path: Path) -> None:
    lazy = torch.nn.Sequential(torch.nn.LazyLinear(3))
    torch.save(lazy, tmp_path / "lazy.pt")
    with pytest.raises(InputError, match="lazy modules"):
        from_module(lazy)
    with pytest.raises(InputError, match="lazy modules"):
        load(tmp_path / "lazy.pt", LoadOptions(trust=True))
