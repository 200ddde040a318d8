"""What folding plans, does and verifies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from normdiag.records.model import Array, ModelInfo, NormKind
from normdiag.records.report import Finding, RangeSpread

Direction = Literal["before", "after", "norm", "beside"]


@dataclass(frozen=True, eq=False)
class Affine:
    """y = scale * x + shift, float64, both of the rank of a tensor, of size 1 along the axes where they do not vary."""

    scale: Array
    shift: Array


@dataclass(frozen=True, eq=False)
class LayerEdit:
    """What one layer absorbs: `inner` is applied to its input, `outer` to its output, in the axes of those tensors.

    `added` is what a convolution adds to its output, after all else, as a map of what it reads: of norms beside it.
    """

    inner: Affine | None = None
    outer: Affine | None = None
    added: Affine | None = None


@dataclass(frozen=True)
class FoldStep:
    """One norm that goes. `into` names the layers that take it up, `through` what lies between.

    `direction`: into the layers 'before' it or 'after' it, into another 'norm', or into a convolution 'beside' it,
    which reads the same tensor and is added to it. `whole`: the norm disappears; else only its gamma and beta go
    (LayerNorm, RMSNorm). `shift_stays`: it becomes a single Add, since padding stands in the way of its
    shift; of a LayerNorm, its beta stays.
    """

    norm: str
    kind: NormKind | Literal["scale_shift"]
    direction: Direction
    into: tuple[str, ...]
    through: tuple[str, ...] = ()
    channels: int | None = None
    whole: bool = True
    shift_stays: bool = False


@dataclass(frozen=True)
class Refusal:
    """A norm that stays, and why. `at` names the op, tensor or parameter in the way."""

    norm: str
    kind: NormKind | Literal["scale_shift"]
    reason: str
    at: str | None = None


@dataclass(frozen=True)
class Beside:
    """What becomes of a norm that stood beside a convolution, by indexes into `OpGraph.ops`.

    The convolution `layer` absorbs it. The sum `shortened` no longer adds the norm, its term at `place`; `passed` are
    ops between the two that go as well. From the sum `meeting` on all is as it was; `between` names the tensors before
    it that have other values now, or are gone.
    """

    layer: int
    shortened: int
    place: int
    meeting: int
    passed: tuple[int, ...] = ()
    between: tuple[str, ...] = ()


@dataclass(frozen=True)
class Copied:
    """A parameter that got a copy of its own because `shared_with` reads it too."""

    parameter: str
    layer: str
    shared_with: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """Which norms go where, which are not folded and why.

    `edits` are by index into `OpGraph.ops`; `removed` the indexes of the ops that disappear; `stripped` of the
    norms that lose gamma and beta only; `shifts` of the ops that become an Add of what is given, in the rank of the
    data, and of LayerNorms of which that is the new beta. `beside` has what becomes of norms beside convolutions, by
    their indexes. `norms` counts all normalization layers that were asked for, `not_asked` LayerNorms and RMSNorms that
    were not, by kind.
    """

    steps: tuple[FoldStep, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    edits: Mapping[int, LayerEdit] = field(default_factory=dict)
    removed: tuple[int, ...] = ()
    stripped: tuple[int, ...] = ()
    shifts: Mapping[int, Array] = field(default_factory=dict)
    beside: Mapping[int, Beside] = field(default_factory=dict)
    copies: tuple[Copied, ...] = ()
    norms: int = 0
    not_asked: Mapping[NormKind, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class NewParameters:
    """The values of an edited layer in the dtypes in which they are stored; `bias` None where it has and needs none.

    For a Conv or Linear `weight` and the effective `bias` (beta of a Gemm is 1 from now on), for a Norm gamma and
    beta, for a ScaleShift scale and shift, for a Constant the value in `weight`.
    """

    weight: Array
    bias: Array | None = None


@dataclass(frozen=True)
class PointError:
    """The difference at one folded point: `relative` is max|folded - original| over max|original| of that tensor.

    `bound` is what rounding can explain of it, up to this layer.
    """

    layer: str
    tensor: str
    relative: float
    bound: float | None = None


@dataclass(frozen=True)
class Latency:
    """Seconds of one run of the original and of the folded model, measured in turns, each the fastest of its runs.

    `ratio` bounds the middle half of what the rounds gave for after / before: where 1 lies between them, no difference
    was measured.
    """

    before: float
    after: float
    ratio: tuple[float, float]

    @property
    def differs(self) -> bool:
        """Whether the difference is more than the noise."""
        return self.ratio[0] > 1.0 or self.ratio[1] < 1.0


@dataclass(frozen=True)
class Verification:
    """Original against folded, over all runs. Errors are max|difference| over max|original|, of the worst output.

    `bound` is what rounding can explain (docs/folding.md); `float64_error` the folded model in its own dtype against
    the original in float64, `original_float64_error` the same of the original: None with `float64_note` where that
    cannot run. `runs` counts the inputs, `magnitudes` and `batch_sizes` what they spanned. `points` are worst first:
    those above their bound in the order of the network, then the others by error over bound.
    """

    passed: bool
    error: float
    bound: float
    output: str
    dtype: str
    depth: int
    runs: int
    samples: int
    source: str
    float64_error: float | None = None
    original_float64_error: float | None = None
    float64_note: str | None = None
    points: tuple[PointError, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    magnitudes: tuple[float, ...] = ()
    latency: Latency | None = None
    note: str | None = None


@dataclass(frozen=True, eq=False)
class FoldReport:
    """Everything that `fold` has to say. `written` is the file, None where nothing was written."""

    model: ModelInfo
    plan: FoldPlan
    verification: Verification | None = None
    ranges: tuple[RangeSpread, ...] = ()
    findings: tuple[Finding, ...] = ()
    size_before: int | None = None
    size_after: int | None = None
    written: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def carried_out(self) -> bool:
        """Whether the plan was applied; a dry run ends before."""
        return self.size_after is not None
