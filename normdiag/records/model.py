"""What a model file says: its normalization layers and its identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from normdiag.records.batch import InputSpec

NormKind = Literal[
    "batch_norm",
    "layer_norm",
    "instance_norm",
    "group_norm",
    "rms_norm",
    "layer_or_group_norm",
]
Origin = Literal["module", "function", "operator", "decomposed", "weights"]
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class NormLayer:
    """One normalization layer. What the file does not say is None, never a guess.

    gamma, beta, running_mean and running_var have shape (channels,), or the normalized shape for LayerNorm
    and RMSNorm, in the dtype in which they are stored. `momentum` follows PyTorch: new = (1 - momentum) * old +
    momentum * batch. `training` is the flag stored with the layer (ONNX: training_mode). `groups` is GroupNorm's.
    `normalized_rank` is the number of trailing axes that LayerNorm or RMSNorm spans. `class_name` is the module class,
    ONNX operator or pattern that it was recognised from. `notes` are facts for the reader, one sentence each.
    `batch_statistics` says of a BatchNorm whether, as it was run in eval mode, it normalized with the statistics of
    its batch; None where that was not seen.
    """

    name: str
    kind: NormKind
    origin: Origin
    channels: int | None = None
    eps: float | None = None
    momentum: float | None = None
    gamma: Array | None = field(default=None, repr=False)
    beta: Array | None = field(default=None, repr=False)
    running_mean: Array | None = field(default=None, repr=False)
    running_var: Array | None = field(default=None, repr=False)
    num_batches_tracked: int | None = None
    training: bool | None = None
    groups: int | None = None
    normalized_rank: int | None = None
    class_name: str | None = None
    notes: tuple[str, ...] = ()
    batch_statistics: bool | None = None

    @property
    def has_statistics(self) -> bool:
        """Whether stored running statistics are known."""
        return self.running_mean is not None and self.running_var is not None


@dataclass(frozen=True)
class ModelInfo:
    """Where a model came from. `notes` say what was taken from the file, stripped, or could not be read.

    `built` says what a PyTorch file that ran without any code of its own was built as, `quantized` how its weights are
    packed.
    `suspicious` are functions that the file would call when it is unpickled, and that no model has a use for.
    """

    path: str | None
    format: str
    backend: Literal["pytorch", "onnx", "weights"]
    sha256: str | None
    size_bytes: int | None
    parameters: int | None
    notes: tuple[str, ...] = ()
    suspicious: tuple[str, ...] = ()
    built: str | None = None
    quantized: str | None = None


@dataclass(frozen=True)
class CopyComparison:
    """Another copy of the model in the same file, beside the one that was taken: a moving average, a replica.

    `name` and `taken` say where the two are. `weights` and `affine` are relative RMS differences of the weights of
    linear layers and of the parameters of the normalization layers; `statistics` is the RMS drift of the one's running
    statistics against the other's, in standard deviations. 0 means equal to the last bit. `tracked` are the batches
    that the layer with the most of them counted, in the one taken and in the other; None where one does not count
    them. `in_training`: the file tells of as many training steps, so that they were counted in its own training.
    """

    name: str
    taken: str
    weights: float
    affine: float
    statistics: float
    tracked: tuple[int, int] | None = None
    in_training: bool = False


@dataclass(frozen=True)
class FoldedNorm:
    """A BatchNorm that whoever wrote the file folded into the linear layer before it, so that its statistics are gone.

    `name` is the norm's where the file keeps it, `layer` the layer that absorbed it, `tool` what folds in this way.
    `certain`: the file says so; else it is concluded from the name of a rewritten weight.
    """

    name: str | None
    layer: str
    tool: str
    certain: bool


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model.

    `program` is what its backend runs (a torch.nn.Module, an OnnxProgram), or None for weights alone. `why_not_run`
    says, where program is None, why nothing can be run and which option would change that. `folded` are the layers
    that are no longer there; `skipped` says of nodes that normalize why they could not be analysed. `suggested` are
    inputs that the model can be run on where nobody gives any, as far as its file or its architecture says;
    `run_with` are the options, each set complete, with which a model that does not run would; `fitting` are the known
    architectures that these stand for where its weights fit several. `reading` are the options with which another
    command opens the same. `streamed`: the program reads its weights from their files whenever it runs.
    """

    info: ModelInfo
    layers: tuple[NormLayer, ...]
    inputs: tuple[InputSpec, ...] = ()
    program: Any = None
    why_not_run: str | None = None
    copies: tuple[CopyComparison, ...] = ()
    folded: tuple[FoldedNorm, ...] = ()
    skipped: tuple[str, ...] = ()
    suggested: tuple[InputSpec, ...] = ()
    run_with: tuple[str, ...] = ()
    fitting: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()
    streamed: bool = False
