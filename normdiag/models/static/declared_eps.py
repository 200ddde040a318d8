"""What config.json says of the norms of a Hugging Face checkpoint, and what that makes of layers known by weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from normdiag.models.static.staticfile import DeclaredEps
from normdiag.records import NormKind, NormLayer

_RMS = frozenset({"rms_norm_eps", "rms_norm_epsilon"})
_LAYER = frozenset({"layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon"})
# Keys of models that have GroupNorm layers beside: then weight and bias alone do not tell which is which.
_GROUPS = ("num_groups", "feat_extract_norm", "group_norm")
_KINDS = ("rms_norm", "layer_norm", "layer_or_group_norm")
_MAX_DEPTH = 4


def declared_eps(config: Mapping[str, Any] | None) -> DeclaredEps | None:
    """The values of eps in a config and in the configs of its parts; None where it has none."""
    settings = list(_settings(config or {}, 0))
    rms = frozenset(value for key, value in settings if key in _RMS and _is_eps(value))
    layer = frozenset(value for key, value in settings if key in _LAYER and _is_eps(value))
    grouped = any(part in key for key, _ in settings for part in _GROUPS)
    found = DeclaredEps(rms, frozenset() if grouped else layer)
    return found if found.rms or found.layer else None


def with_declared(layer: NormLayer, declared: DeclaredEps | None) -> NormLayer:
    """The layer as the file's own word makes it, where its weights alone leave that open."""
    if declared is None or layer.origin != "weights" or layer.kind not in _KINDS:
        return layer
    values = declared.layer if layer.beta is not None else declared.rms
    kind: NormKind = "layer_norm" if layer.beta is not None else "rms_norm"
    if layer.beta is None and not values and declared.bare_layer_norms:
        values, kind = declared.layer, "layer_norm"
    if not values:
        return layer
    eps = next(iter(values)) if len(values) == 1 else None
    return replace(layer, kind=kind, eps=eps, notes=(), normalized_rank=layer.normalized_rank or 1)


def _settings(config: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and depth < _MAX_DEPTH:
            yield from _settings(value, depth + 1)
        else:
            yield key, value


def _is_eps(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value) and 0.0 <= value < 1.0
