"""What two models store differently, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from normdiag.comparison.folded import USUAL_EPS, explained_by_folding
from normdiag.comparison.units import change, coarser, ulp
from normdiag.matching.layers import pair_layers
from normdiag.records import NormLayer
from normdiag.records.contents import LayerContents, MatchedBy
from normdiag.records.diff import LayerDifference, SettingDifference, TensorDifference, UnpairedLayer
from normdiag.records.model import Array
from normdiag.records.ops import Parameter

AFFINE = ("weight", "bias")
STATISTICS = ("running_mean", "running_var")
SURE = ("module", "function", "operator")

Compared = tuple[tuple[LayerDifference, ...], tuple[UnpairedLayer, ...], tuple[UnpairedLayer, ...]]


def compare_contents(a: Sequence[LayerContents], b: Sequence[LayerContents], *, one_form: bool = True) -> Compared:
    """Every pair of layers, equal or not, and what only `a` and only `b` have.

    Without `one_form`, where one is a graph and the other is not, a tensor that only one stores is no difference by
    itself: exporters compute with parameters ahead of time.
    """
    found = pair_layers(a, b)
    differences = [_difference(a[pair.a], b[pair.b], pair.by, one_form) for pair in found.pairs]
    only_a, only_b = [a[i] for i in found.only_a], [b[j] for j in found.only_b]
    into_a, into_b = dict[str, str](), dict[str, str]()
    for place, pair in enumerate(found.pairs):
        if differences[place].weights is None and differences[place].affine is None:
            continue
        norm, of_a = _folded(a[pair.a], b[pair.b], only_a, only_b)
        if norm is not None:
            differences[place] = replace(differences[place], folded=norm.name)
            (into_a if of_a else into_b)[norm.name] = (b[pair.b] if of_a else a[pair.a]).name
    return tuple(differences), _unpaired(only_a, into_a), _unpaired(only_b, into_b)


def _folded(
    one: LayerContents, two: LayerContents, only_a: Sequence[LayerContents], only_b: Sequence[LayerContents]
) -> tuple[LayerContents | None, bool]:
    """The norm of one model that the weights of the other have absorbed, and whether it is one of `only_a`."""
    norm = explained_by_folding(one, two, only_a)
    return (norm, True) if norm is not None else (explained_by_folding(two, one, only_b), False)


def _unpaired(layers: Sequence[LayerContents], into: dict[str, str]) -> tuple[UnpairedLayer, ...]:
    named = (layer for layer in layers if not layer.unnamed)
    return tuple(UnpairedLayer(layer.name, kind_of(layer), into.get(layer.name)) for layer in named)


def kind_of(layer: LayerContents) -> str:
    """What kind of layer it is: that of a norm, conv, linear, or weights."""
    return layer.kind if layer.norm is None else layer.norm.kind


def _difference(one: LayerContents, two: LayerContents, by: MatchedBy, one_form: bool) -> LayerDifference:
    is_norm = one.norm is not None and two.norm is not None
    roles: tuple[str, ...] = AFFINE if is_norm else tuple(dict.fromkeys([*one.tensors, *two.tensors]))
    if is_norm and not (_is_whole(one) and _is_whole(two)):
        roles = tuple(role for role in roles if role in one.tensors and role in two.tensors)
    found = _changes(one, two, roles)
    return LayerDifference(
        a=one.name,
        b=two.name,
        by=by,
        kind=kind_of(one) if is_norm or one.kind != "weights" else two.kind,
        weights=None if is_norm else found,
        affine=found if is_norm else None,
        statistics=_statistics(one.norm, two.norm) if one.norm is not None and two.norm is not None else None,
        settings=tuple(_settings(one, two, roles, one_form)),
    )


def _is_whole(layer: LayerContents) -> bool:
    """Whether a parameter that it does not have is 1 or 0; in a graph it may be one that is computed."""
    return layer.norm is not None and layer.norm.origin not in ("operator", "decomposed")


def _changes(one: LayerContents, two: LayerContents, roles: Sequence[str]) -> TensorDifference | None:
    """Of all tensors of these roles together: the worst of each unit."""
    pairs = [_arrays(one.tensors.get(role), two.tensors.get(role), role) for role in roles]
    changes = [found for pair in pairs if pair is not None and (found := change(*pair)) is not None]
    if not changes:
        return None
    return TensorDifference(
        max(each.relative for each in changes),
        max(each.ulps for each in changes),
        max(changes, key=lambda each: each.relative).dtype,
        all(each.rounding for each in changes),
    )


def _arrays(one: Parameter | None, two: Parameter | None, role: str) -> tuple[Array, Array] | None:
    """Both tensors; a bias or gamma that only one has is zeros or ones. None where they cannot be compared."""
    if one is None and two is None:
        return None
    if one is None or two is None:
        given = (one or two).read()  # type: ignore[union-attr]
        if role not in AFFINE or given.ndim != 1:
            return None
        neutral = np.full(given.shape, 1.0 if role == "weight" else 0.0).astype(given.dtype)
        return (neutral, given) if one is None else (given, neutral)
    a, b = one.read(), two.read()
    if a.shape != b.shape:
        a, b = (b.T, a.T) if a.T.shape == b.shape and a.ndim == 2 else (a.reshape(-1), b.reshape(-1))
    elif a.ndim == 2 and a.shape[0] == a.shape[1] and not np.array_equal(a, b) and np.allclose(a.T, b, 1e-2, 1e-3):
        a = a.T
    return (a, b) if a.shape == b.shape else None


def _statistics(one: NormLayer, two: NormLayer) -> float | None:
    """RMS over the channels of the distance of the stored Gaussians, in deviations of `one`."""
    if not (one.has_statistics and two.has_statistics):
        return None
    mean, var, mean2, var2 = (np.asarray(getattr(of, role), np.float64) for of in (one, two) for role in STATISTICS)
    if mean.shape != mean2.shape:
        return None
    eps = one.eps if one.eps is not None else USUAL_EPS
    with np.errstate(all="ignore"):
        s, s2 = np.sqrt(np.maximum(var, 0) + eps), np.sqrt(np.maximum(var2, 0) + eps)
        drift = float(np.sqrt(np.mean(((mean2 - mean) / s) ** 2 + (s2 / s - 1) ** 2)))
    if _only_rounded(one, two):
        return 0.0
    return math.inf if math.isnan(drift) else drift


def _only_rounded(one: NormLayer, two: NormLayer) -> bool:
    found = [change(getattr(one, role), getattr(two, role)) for role in STATISTICS]
    return all(each is None or each.rounding for each in found)


def _settings(
    one: LayerContents, two: LayerContents, roles: Sequence[str], one_form: bool
) -> Iterator[SettingDifference]:
    for role in roles:
        a, b = one.tensors.get(role), two.tensors.get(role)
        if a is not None and b is not None and a.shape != b.shape and _arrays(a, b, role) is None:
            yield SettingDifference(f"shape of {role}", _shape(a.shape), _shape(b.shape))
        elif (a is None) != (b is None) and role not in AFFINE and one_form:
            yield SettingDifference(role, "absent" if a is None else "present", "absent" if b is None else "present")
    if one.norm is not None and two.norm is not None:
        yield from _norm_settings(one.norm, two.norm)


def _norm_settings(a: NormLayer, b: NormLayer) -> Iterator[SettingDifference]:
    """What changes the result, or, of momentum and the counter, what further training would do."""
    if not _same_kind(a, b):
        yield SettingDifference("kind", a.kind, b.kind)
    if a.channels != b.channels and a.channels is not None and b.channels is not None and a.gamma is None:
        yield SettingDifference("channels", str(a.channels), str(b.channels))
    if a.has_statistics != b.has_statistics and a.kind == b.kind and a.origin in SURE and b.origin in SURE:
        yield SettingDifference("running statistics", _yes(a.has_statistics), _yes(b.has_statistics))
    if a.eps is not None and b.eps is not None and not _same_number(a.eps, b.eps, a, b):
        yield SettingDifference("eps", f"{a.eps:.6g}", f"{b.eps:.6g}")
    if a.training is not None and b.training is not None and a.training != b.training and a.kind != "layer_norm":
        yield SettingDifference("training", _yes(a.training), _yes(b.training))
    if a.groups is not None and b.groups is not None and a.groups != b.groups and a.kind == b.kind:
        yield SettingDifference("groups", str(a.groups), str(b.groups))
    if _can_train(a) and _can_train(b) and not _same_momentum(a.momentum, b.momentum):
        yield SettingDifference("momentum", f"{a.momentum:.6g}", f"{b.momentum:.6g}")
    if a.num_batches_tracked is not None and b.num_batches_tracked not in (None, a.num_batches_tracked):
        yield SettingDifference("num_batches_tracked", str(a.num_batches_tracked), str(b.num_batches_tracked))


def _can_train(layer: NormLayer) -> bool:
    """Whether momentum has an effect: an ONNX operator out of training mode does not update anything."""
    return layer.origin != "operator" or bool(layer.training)


def _same_momentum(one: float | None, two: float | None) -> bool:
    return one is None or two is None or math.isclose(one, two, rel_tol=1e-5, abs_tol=1e-7)


def _same_kind(a: NormLayer, b: NormLayer) -> bool:
    """Whether the same is computed, as far as the files say: weights alone do not tell some kinds apart."""
    if a.kind == b.kind:
        return True
    kinds = {a.kind, b.kind}
    if "layer_or_group_norm" in kinds:
        return kinds <= {"layer_or_group_norm", "layer_norm", "group_norm", "instance_norm"}
    if kinds == {"batch_norm", "instance_norm"}:  # in a graph, statistics that are not there may be computed
        batch = a if a.kind == "batch_norm" else b
        return (a.has_statistics and b.has_statistics) or (not batch.has_statistics and not batch.training)
    group = a if a.kind == "group_norm" else b
    if kinds == {"group_norm", "instance_norm"}:
        return group.groups is not None and group.groups == group.channels
    return kinds == {"group_norm", "layer_norm"} and group.groups == 1


def _same_number(one: float, two: float, a: NormLayer, b: NormLayer) -> bool:
    """Equal in the coarser dtype of the two layers, where a constant of the graph may be kept."""
    dtypes = [layer.gamma.dtype.name for layer in (a, b) if layer.gamma is not None] or ["float32"]
    dtype = coarser(dtypes[0], dtypes[-1])
    return abs(one - two) <= 2 * float(ulp(np.array([max(abs(one), abs(two))]), dtype)[0])


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes)) or "scalar"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
