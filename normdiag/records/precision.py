"""A norm, and a model, in half precision: what was simulated, what was run, and what must stay in float32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from normdiag.records.model import Array, NormKind

Half = Literal["fp16", "bf16"]
# How a kernel adds up, from the worst to the best; `normdiag.metrics.half_norms` has what each does.
Form = Literal["sequential", "pairwise", "float32_sums", "float32", "rescaled"]
FORMS: tuple[Form, ...] = ("sequential", "pairwise", "float32_sums", "float32", "rescaled")


@dataclass(frozen=True, eq=False)
class NormRows:
    """What a norm normalizes on a few samples: `rows` (G, n), one group a row, in float32 or float64.

    `place` (G,) is the position of a group in its sample (the token), where rows are vectors of features, else None.
    """

    kind: NormKind
    rows: Array
    eps: float
    place: Array | None = None


@dataclass(frozen=True)
class NormInHalf:
    """A LayerNorm, RMSNorm, GroupNorm or InstanceNorm computed in half precision on its own groups.

    `largest_sum` is the largest sum of squares of a group over all of the data, up to 4.4 % too small, and
    `overflowing` the share of groups whose sum does not fit the format. `errors` has the relative RMS error of the
    normalized output against float64 by form, infinite where a value is not finite; it comes from `groups` groups of
    the samples held. `eps` is what the layer's eps becomes in the format, None where it is not known, and `eps_error`
    the part of the error that this alone makes.
    """

    layer: str
    kind: NormKind
    group_size: int
    largest_sum: float | None
    overflowing: float | None
    groups: int
    errors: Mapping[Form, float] = field(default_factory=dict)
    eps: float | None = None
    eps_error: float | None = None
