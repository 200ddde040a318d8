"""A norm, and a model, in half precision: what was simulated, what was run, and what must stay in float32."""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class KeptNorm:
    """A norm that must stay in float32. `nodes` are the names of its ONNX nodes, empty where a node has none.

    `error` is that of the output when this norm was tried in the format and the others were kept, `own_error` that with
    the others of the plan where kernels sum in float32, or that of no norm kept where this does no harm. None for what
    was not run.
    """

    layer: str
    nodes: tuple[str, ...] = ()
    error: float | None = None
    own_error: float | None = None


@dataclass(frozen=True)
class PrecisionPlan:
    """The norms that stay in float32 while all else is in half precision, verified by running it so.

    Errors are relative RMS differences of the outputs from those in float32, the worst output's, infinite where a value
    is not finite: `all_half` with nothing kept, `planned` with the norms of the plan, `all_kept` with every norm in
    float32. There the squares and sums of norms are stored in the format, as in a norm spelled out in operators;
    `own_half` is `all_half` where kernels sum in float32. `limit` is the error up to which the plan suffices.
    `minimal`: every norm of it was tried without, and is needed. `where` says what ran it, and `runs` how often. `lost`
    names the first operator or module whose output is not finite although all norms are in float32.
    """

    kept: tuple[KeptNorm, ...]
    all_half: float
    own_half: float
    planned: float
    all_kept: float
    limit: float
    minimal: bool
    samples: int
    runs: int
    where: str
    lost: str | None = None

    @property
    def sufficient(self) -> bool:
        """Whether norms in float32 make the model healthy."""
        return self.planned <= self.limit and math.isfinite(self.planned)


@dataclass(frozen=True)
class HalfPrecision:
    """What half precision does to a model: norm by norm, simulated, and the plan; without one, the reason."""

    target: Half
    norms: tuple[NormInHalf, ...]
    plan: PrecisionPlan | None = None
    why_no_plan: str | None = None
