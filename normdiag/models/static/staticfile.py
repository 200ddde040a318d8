"""What the static reader hands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from numpy.typing import NDArray

from normdiag.models.static.inert import Record
from normdiag.records import CopyComparison, NormKind

Array = NDArray[Any]


@dataclass(frozen=True)
class ModuleFacts:
    """What a file says of one module beside its tensors; None for what it does not say.

    `class_name` is dotted (torch.nn.modules.batchnorm.BatchNorm2d). `kind` is set where the file shows the operator
    that the module calls (TorchScript, torch.export); `parameters` then names the tensors that it takes, by role
    (weight, bias, running_mean, running_var). `momentum` is None for a cumulative average too.
    """

    class_name: str | None = None
    kind: NormKind | None = None
    eps: float | None = None
    momentum: float | None = None
    training: bool | None = None
    channels: int | None = None
    groups: int | None = None
    normalized_shape: tuple[int, ...] | None = None
    affine: bool | None = None
    parameters: Mapping[str, str] | None = None


_TORCH_CLASSES: Mapping[str, NormKind] = {
    **{f"{lazy}BatchNorm{n}d": "batch_norm" for lazy in ("", "Lazy") for n in (1, 2, 3)},
    **{f"{lazy}InstanceNorm{n}d": "instance_norm" for lazy in ("", "Lazy") for n in (1, 2, 3)},
    "SyncBatchNorm": "batch_norm",
    "LayerNorm": "layer_norm",
    "GroupNorm": "group_norm",
    "RMSNorm": "rms_norm",
}


def torch_kind(class_name: str | None) -> NormKind | None:
    """The kind of a normalization class of torch's own, given its dotted name; None for any other class."""
    module, _, name = (class_name or "").rpartition(".")
    return _TORCH_CLASSES.get(name) if module.startswith("torch.nn.") else None


def merged(first: ModuleFacts, second: ModuleFacts) -> ModuleFacts:
    """What `first` knows, and what only `second` knows."""
    known = {each.name: getattr(first, each.name) for each in fields(ModuleFacts)}
    return replace(second, **{name: value for name, value in known.items() if value is not None})


@dataclass(frozen=True, eq=False)
class ExportedProgramFile:
    """A torch.export program: its JSON as parsed, and the arrays that are no weights, by the names that it uses."""

    program: Mapping[str, Any]
    constants: Mapping[str, Array]


@dataclass(frozen=True)
class Quantized:
    """`how` weights are packed, in words; `sizes` the number of weights by tensor, 0 for scales and other constants."""

    how: str
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class DeclaredEps:
    """What a file says of all of its norms: the values of eps of its RMSNorm and of its LayerNorm layers.

    `bare_layer_norms`: layers without beta are LayerNorm, too, where it has no eps of an RMSNorm.
    """

    rms: frozenset[float] = frozenset()
    layer: frozenset[float] = frozenset()
    bare_layer_norms: bool = False


@dataclass(frozen=True)
class ArchitectureHints:
    """What a file says of its architecture beside the tensors: the paths of all `modules`, and `names` as written.

    Empty for what it does not say.
    """

    modules: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class StaticFile:
    """A model file as it was read without running anything of it.

    `tensors` are read-only arrays by name, in file order, views of the file where possible (so perhaps unaligned);
    `modules` the facts by module path, empty where the file holds weights alone; `notes` say what was taken, left out
    and renamed. `whole_module` marks a pickled object, TorchScript or torch.export program that only --trust can run.
    `copies` are other copies of the model in the file. What a module can be built from without running anything: the
    `pickled` module, the JSON of an `exported` program, or the `config` of a Hugging Face checkpoint. `suspicious` are
    names in its pickles that no model has a use for. `quantized` says which tensors are packed weights,
    `declared` what the file says of the eps of its norms, and `hints` what it says of its architecture.
    """

    tensors: Mapping[str, Array]
    modules: Mapping[str, ModuleFacts] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    whole_module: bool = False
    copies: tuple[CopyComparison, ...] = ()
    pickled: Record | None = None
    exported: ExportedProgramFile | None = None
    config: Mapping[str, Any] | None = None
    suspicious: tuple[str, ...] = ()
    quantized: Quantized | None = None
    declared: DeclaredEps | None = None
    hints: ArchitectureHints = ArchitectureHints()
