"""What a file says of its architecture beside the tensors: the modules that torch lists, names that scripts write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from normdiag.models.static.inert import PickledOrderedDict, Record
from normdiag.models.static.modules import state_of
from normdiag.models.static.staticfile import ArchitectureHints

# Where training scripts keep the name of an architecture, and what they keep such entries in.
_NAMES = frozenset(
    {"arch", "architecture", "model", "model_name", "model_arch", "name", "net", "network"}
    | {"backbone", "backbone_name", "encoder", "encoder_name"}
)
_HOLDERS = frozenset(
    {"args", "cfg", "config", "hparams", "hyper_parameters", "hyperparameters", "opt", "options", "meta"}
    | {"model", "model_args", "model_config", "model_kwargs"}
)
_MAX_DEPTH, _MAX_ENTRIES, _MAX_LENGTH = 4, 10_000, 200


def hints_of(root: Any, weights: Any) -> ArchitectureHints:
    """Those of the object of a file, whose model is the dict `weights` in it.

    torch's state dicts carry an attribute `_metadata`, a dict whose keys are the paths of all modules, also of those
    without parameters; it is lost where a script copies the tensors into another dict.
    """
    state = weights.state if isinstance(weights, PickledOrderedDict) else None
    listed = state.get("_metadata") if isinstance(state, dict) else None
    modules = frozenset(path for path in listed if isinstance(path, str)) if isinstance(listed, dict) else frozenset()
    return ArchitectureHints(modules, tuple(dict.fromkeys(_names(root))))


def _names(root: Any) -> Iterator[str]:
    left, level = _MAX_ENTRIES, [root]
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for entries in map(_entries, level):
            left -= 1 + len(entries)
            if left < 0:
                return
            for name in sorted(_NAMES & entries.keys()):
                if isinstance(entries[name], str) and len(entries[name]) <= _MAX_LENGTH:
                    yield entries[name]
            below += [entries[name] for name in sorted(_HOLDERS & entries.keys())]
        level = below


def _entries(value: Any) -> Mapping[Any, Any]:
    """Of a dict, of a pickled subclass of dict, or the attributes of an object such as argparse.Namespace."""
    if isinstance(value, Record):
        return {**state_of(value), **value.items}
    return value if isinstance(value, dict) else {}
