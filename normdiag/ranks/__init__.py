"""Several processes as one: each measures its share of the data, and their sums are added up once.

Started by torchrun or by whatever else sets RANK and WORLD_SIZE; without, a process is alone.
"""

from normdiag.ranks.group import ALONE, Ranks, merged, together
from normdiag.ranks.started import started

__all__ = ["ALONE", "Ranks", "merged", "started", "together"]
