"""Names for ops as users know them, and the same as those under which `inspect` reports layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from normdiag.graph.importers.torch_export.calls import module_of
from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.records import NormLayer
from normdiag.records.ops import Norm, ScaleShift

_NORM_CLASSES = ("BatchNorm", "InstanceNorm", "GroupNorm", "LayerNorm", "RMSNorm")


def named(drafts: Sequence[AnchoredOp], program: Program) -> list[tuple[str, AnchoredOp]]:
    """Each draft with its name, which its norm, if it is one, has as well.

    The path of the module that it is all of, or whose parameters it reads; else `path.operator`, numbered `_2` and so
    on within one call of that module. What runs again has `#2` and so on after its name.
    """
    naming = _Naming(drafts, program)
    seen: Counter[str] = Counter()
    result = []
    for draft in drafts:
        name, is_module = naming.name(draft)
        seen[name] += 1
        unique = name if seen[name] == 1 else f"{name}#{seen[name]}"
        result.append((unique, _with_layer(draft, unique, is_module)))
    return result


def _with_layer(draft: AnchoredOp, name: str, is_module: bool) -> AnchoredOp:
    detail = draft.detail
    if isinstance(detail, Norm):
        is_norm = is_module and any(known in (detail.layer.class_name or "") for known in _NORM_CLASSES)
        layer = replace(detail.layer, origin="module") if is_norm else detail.layer
        return replace(draft, detail=replace(detail, layer=_renamed(layer, name, is_module)))
    if isinstance(detail, ScaleShift) and detail.norm is not None:
        return replace(draft, detail=replace(detail, norm=_renamed(detail.norm, name, is_module)))
    return draft


def _renamed(layer: NormLayer, name: str, is_module: bool) -> NormLayer:
    if is_module:
        return replace(layer, name=name)
    return replace(layer, name=name, class_name=None, origin="function" if layer.origin == "module" else layer.origin)


class _Naming:
    def __init__(self, drafts: Sequence[AnchoredOp], program: Program) -> None:
        self._program = program
        self._parents = _parents(drafts, program)
        self._in_frame = Counter(module_of(draft.anchor)[:2] for draft in drafts)
        self._with_parameters = Counter(module_of(draft.anchor)[:2] for draft in drafts if draft.parameters)
        self._calls: Counter[tuple[str, str, str]] = Counter()

    def name(self, draft: AnchoredOp) -> tuple[str, bool]:
        """The name, and whether it is that of a module."""
        frame, path, class_name = module_of(draft.anchor)
        if draft.kind == "constant":
            return self._program.constants.stored_name(draft.anchor) or draft.anchor.name, False
        if isinstance(draft.detail, Norm):
            module = self._norm_module(draft, frame, path, class_name)
        else:
            module = self._module(draft, frame, path)
        if module is not None:
            return module, True
        operator = draft.operator.rpartition("+")[2]
        base = f"{path}.{operator}" if path else operator
        self._calls[frame, path, base] += 1
        count = self._calls[frame, path, base]
        return base if count == 1 else f"{base}_{count}", False

    def _norm_module(self, draft: AnchoredOp, frame: str, path: str, class_name: str) -> str | None:
        """As observe/pytorch: the norm module that runs, or the leaf module that owns running_mean or weight."""
        owners = self._owners(draft, ("running_mean", "weight"))
        is_norm = any(name in class_name for name in _NORM_CLASSES)
        if is_norm and (path in owners or (not draft.parameters and self._is_leaf(path))):
            return path or class_name
        leaves = [owner for owner in owners if owner and self._is_leaf(owner)]
        return leaves[0] if leaves else self._module(draft, frame, path) if self._is_leaf(path) else None

    def _module(self, draft: AnchoredOp, frame: str, path: str) -> str | None:
        if path and self._is_leaf(path):
            alone = self._in_frame[frame, path] == 1
            return path if alone or (draft.parameters and self._with_parameters[frame, path] == 1) else None
        within = f"{path}." if path else ""
        owners = [owner for owner in self._owners(draft) if owner and f"{owner}.".startswith(within)]
        return owners[0] if owners and self._is_leaf_or_own(owners[0], frame, path) else None

    def _is_leaf_or_own(self, owner: str, frame: str, path: str) -> bool:
        return self._is_leaf(owner) if owner != path else self._with_parameters[frame, path] == 1

    def _is_leaf(self, path: str) -> bool:
        return path not in self._parents

    def _owners(self, draft: AnchoredOp, tensors: tuple[str, ...] = ()) -> list[str]:
        """The modules that hold the stored tensors which an op reads."""
        constants = self._program.constants
        roots = (root for node in draft.parameters if node in constants for root in constants.roots(node))
        stored = [constants.stored_name(root) or "" for root in roots]
        if tensors:
            wanted = {name: each for each in stored for name in tensors if each.rpartition(".")[2] == name}
            stored = [wanted[name] for name in tensors if name in wanted]
        return [name.partition(".parametrizations.")[0].rpartition(".")[0] for name in stored]


def _parents(drafts: Sequence[AnchoredOp], program: Program) -> frozenset[str]:
    """The paths of the modules that have modules in them."""
    stored = program.exported.state_dict
    owners = {name.partition(".parametrizations.")[0].rpartition(".")[0] for name in stored}
    paths = owners | {module_of(draft.anchor)[1] for draft in drafts}
    parts = (path.split(".") for path in paths if path)
    return frozenset(".".join(part[:end]) for part in parts for end in range(len(part)))
