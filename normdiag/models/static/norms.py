"""Which normalization layers a file holds, from its weights and from what it says of its modules."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normdiag.errors import InputError
from normdiag.models.static.declared_eps import with_declared
from normdiag.models.static.staticfile import ModuleFacts, StaticFile, torch_kind
from normdiag.records import NormKind, NormLayer

Array = NDArray[Any]

# What torch and TensorFlow call them, and then what is a gamma or beta only in a module that is named as a norm.
_GAMMA = ("weight", "gamma", "scale", "g", "a_2")
_BETA = ("bias", "beta", "offset", "b", "b_2")
_USUAL = ("weight", "gamma")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# Parts of class names outside of torch. A ...LayerNorm without bias may be an RMSNorm (T5's), so it does not count.
_NAME_PARTS: tuple[tuple[str, NormKind], ...] = (
    ("RMSNorm", "rms_norm"),
    ("InstanceNorm", "instance_norm"),
    ("GroupNorm", "group_norm"),
    ("LayerNorm", "layer_norm"),
)
# nanoGPT's ln_1, ln_f; ConvNeXt V2's GRN, which divides by the mean of the channels' lengths.
_LN = re.compile(r"^ln(_?(\d{1,2}|f|q|k|v|x|in|out|pre|post|attn|mlp))?$|_ln$", re.IGNORECASE)
_GLOBAL_RESPONSE = re.compile(r"(^|\.)(grn|global_?response_?norm)\d*$", re.IGNORECASE)
_OR_INSTANCE = "an InstanceNorm with running statistics would look the same"
_UNDECIDABLE = "weights alone do not tell LayerNorm, GroupNorm and affine InstanceNorm apart"
_BY_NAME = "taken for an RMSNorm by its name; a LayerNorm without bias would look the same"
_NO_BIAS = "taken for a LayerNorm without bias by its name; an RMSNorm would look the same"
_DEFAULT_EPS = "eps is not set: torch uses the machine epsilon of the input's dtype"


def norm_layers(static: StaticFile) -> tuple[NormLayer, ...]:
    """The normalization layers, in module order where the file has modules, else in the order of the tensors.

    Modules of known class and traced operators are of certain kind. By weights alone, running_mean with running_var
    is BatchNorm; equal one-dimensional weight and bias are LayerNorm or GroupNorm, of higher rank LayerNorm; a lone
    one-dimensional weight is a norm only where its name says so (a PReLU's looks the same), and so are (1, C, 1, 1) and
    tensors of other names than weight and gamma. eps is then None, unless the file says it of all its norms. Packed
    weights are no norm's.
    """
    packed = {} if static.quantized is None else static.quantized.sizes
    groups = _by_module({name: array for name, array in static.tensors.items() if name not in packed})
    paths = dict.fromkeys([*static.modules, *groups])
    found = (_layer(path, _own(path, groups, static), static.modules.get(path)) for path in paths)
    return tuple(with_declared(layer, static.declared) for layer in found if layer is not None)


def _own(path: str, groups: Mapping[str, dict[str, Array]], static: StaticFile) -> Mapping[str, Array]:
    """The tensors of the layer at `path` by role: those that its operator takes, else those of the usual names."""
    facts, usual = static.modules.get(path), groups.get(path, {})
    if facts is None or facts.parameters is None or torch_kind(facts.class_name):
        return usual
    own = {role: static.tensors[name] for role, name in facts.parameters.items()}
    return own | {name: array for name, array in usual.items() if name == "num_batches_tracked"}


def _by_module(tensors: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    groups: dict[str, dict[str, Array]] = {}
    for name, array in tensors.items():
        path, _, last = name.rpartition(".")
        if last in (*_GAMMA, *_BETA, *_STATISTICS):
            groups.setdefault(path, {})[last] = array
    return groups


def _layer(path: str, own: Mapping[str, Array], facts: ModuleFacts | None) -> NormLayer | None:
    kind, notes = _kind(path, own, facts)
    if kind is None:
        return None
    facts = facts or ModuleFacts()
    gamma, beta = (_flat(_first(own, names)) for names in (_GAMMA, _BETA))
    mean, var = own.get("running_mean"), own.get("running_var")
    _check_lengths(path, {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": var})
    shape = next((each.shape for each in (gamma, mean, beta) if each is not None), facts.normalized_shape)
    class_name = facts.class_name.rpartition(".")[2] if facts.class_name else None
    ranked = kind in ("layer_norm", "rms_norm")
    return NormLayer(
        name=path or class_name or kind,
        kind=kind,
        origin="module" if facts.class_name else "weights",
        channels=math.prod(shape) if shape is not None else facts.channels,
        eps=facts.eps,
        momentum=facts.momentum,
        gamma=_aligned(gamma),
        beta=_aligned(beta),
        running_mean=_aligned(mean),
        running_var=_aligned(var),
        num_batches_tracked=_count(own.get("num_batches_tracked")),
        training=facts.training,
        groups=facts.groups,
        normalized_rank=len(shape) if ranked and shape is not None else None,
        class_name=class_name,
        notes=notes,
    )


def _kind(path: str, own: Mapping[str, Array], facts: ModuleFacts | None) -> tuple[NormKind | None, tuple[str, ...]]:
    known = _kind_of_module(own, facts)
    if known == "rms_norm" and facts and facts.eps is None:
        return known, (_DEFAULT_EPS,)
    if known or (facts and _is_torch_module(facts)):
        return known, ()
    return _kind_of_weights(path, own)


def _kind_of_module(own: Mapping[str, Array], facts: ModuleFacts | None) -> NormKind | None:
    """By class or operator; a class that is not torch's counts by its name where its tensors agree."""
    if facts is None or facts.class_name is None:
        return facts.kind if facts else None
    if kind := torch_kind(facts.class_name) or facts.kind:
        return kind
    name = facts.class_name.rpartition(".")[2]
    if _has_statistics(own):
        return "instance_norm" if "InstanceNorm" in name else "batch_norm"
    named = next((kind for part, kind in _NAME_PARTS if part in name), None)
    return None if _first(own, _GAMMA) is None or (named == "layer_norm" and _first(own, _BETA) is None) else named


def _is_torch_module(facts: ModuleFacts) -> bool:
    """Whether torch defines the class: then nothing is guessed from its tensors, and PReLU's weight is no gamma."""
    return (facts.class_name or "").startswith(("torch.nn.", "torch.ao."))


def _kind_of_weights(path: str, own: Mapping[str, Array]) -> tuple[NormKind | None, tuple[str, ...]]:
    gamma, beta = _first(own, _GAMMA), _first(own, _BETA)
    if _has_statistics(own):
        return "batch_norm", (_OR_INSTANCE,)
    name, usual = _norm_name(path), next((role in _USUAL for role in _GAMMA if role in own), False)
    if gamma is None or gamma.ndim == 0 or gamma.dtype.kind in "iub" or _GLOBAL_RESPONSE.search(path):
        return None, ()
    along_one_axis = gamma.size == max(gamma.shape)
    if beta is None:
        return _kind_of_name(name) if along_one_axis and (gamma.ndim == 1 or name) else (None, ())
    told = name or (usual and gamma.ndim == 1) or "a_2" in own
    if gamma.shape != beta.shape or (along_one_axis and not told) or not (told or usual):
        return None, ()
    # GroupNorm's parameters are always one-dimensional, and a Linear's bias has fewer dimensions than its weight.
    return ("layer_or_group_norm", (_UNDECIDABLE,)) if along_one_axis else ("layer_norm", ())


def _norm_name(path: str) -> str:
    """What a module is called, or the list that it is in where that is named after norms; "" where neither is."""
    above, _, last = path.rpartition(".")
    if last.isdigit():
        above = above.rpartition(".")[2].lower()
        return above if above.endswith(("norms", "lns", "norm_layers")) else ""
    return last.lower() if "norm" in last.lower() or "rms" in last.lower() or _LN.search(last) else ""


def _kind_of_name(name: str) -> tuple[NormKind | None, tuple[str, ...]]:
    if not name:
        return None, ()
    return ("rms_norm", (_BY_NAME,)) if "rms" in name or "norm" in name else ("layer_norm", (_NO_BIAS,))


def _has_statistics(own: Mapping[str, Array]) -> bool:
    mean, var = own.get("running_mean"), own.get("running_var")
    return mean is not None and var is not None and mean.ndim == 1


def _check_lengths(path: str, tensors: Mapping[str, Array | None]) -> None:
    """Raise InputError where a layer with running statistics has tensors of different lengths."""
    shapes = {name: each.shape for name, each in tensors.items() if each is not None}
    if "running_mean" in shapes and "running_var" in shapes and len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"{path or 'the norm layer'}: its tensors do not fit together ({listed}): the file is damaged")


def _first(own: Mapping[str, Array], names: tuple[str, ...]) -> Array | None:
    return next((own[name] for name in names if name in own), None)


def _flat(array: Array | None) -> Array | None:
    """A parameter of shape (1, C, 1, 1) as the (C,) that it is."""
    return array.reshape(-1) if array is not None and array.ndim > 1 and array.size == max(array.shape) else array


def _aligned(array: Array | None) -> Array | None:
    """Legacy files place tensors at any byte; a copy spares later stages slow or refused unaligned access."""
    return array if array is None or array.flags.aligned else array.copy()


def _count(tracked: Array | None) -> int | None:
    if tracked is None or tracked.size != 1 or tracked.dtype.kind not in "iuf":
        return None
    value = tracked.reshape(-1)[0]
    return int(value) if np.isfinite(value) else None
