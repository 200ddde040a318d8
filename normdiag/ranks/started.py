"""Whether this process was started as one of several."""

from __future__ import annotations

import os
from collections.abc import Mapping

from normdiag.errors import InputError
from normdiag.extras import require_torch
from normdiag.ranks.group import ALONE, Ranks


def started(environment: Mapping[str, str] = os.environ) -> Ranks:
    """The processes that torchrun, or whoever sets its variables, has started; else this one alone.

    Raises InputError where the variables contradict each other or the others do not come.
    """
    size = environment.get("WORLD_SIZE", "1")
    if size == "1" or "RANK" not in environment:
        return ALONE
    if not size.isdigit() or not environment["RANK"].isdigit():
        raise InputError(f"WORLD_SIZE is {size!r} and RANK {environment['RANK']!r}: start the processes with torchrun")
    require_torch("several processes (WORLD_SIZE) need")
    from normdiag.ranks.gloo import GlooRanks

    return GlooRanks(int(size))
