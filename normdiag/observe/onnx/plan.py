"""What to watch in a graph, and the graphs that are run: as deployed, with batch statistics, and for points alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normdiag.models.onnx import ActivationSite, NormSite, OnnxProgram
from normdiag.observe.onnx import groups as group_norms
from normdiag.observe.onnx import saturation
from normdiag.observe.onnx.channels import (
    ChannelWatch,
    stored_statistics_need_shift,
    use_batch_statistics,
    watch_channels,
)
from normdiag.observe.onnx.edit import GraphEdit
from normdiag.observe.onnx.groups import GroupWatch, watch_groups
from normdiag.observe.onnx.points import LinearOutput, PointWatch, watch_activation_input, watch_norm, watch_output
from normdiag.observe.onnx.sampling import STRATA
from normdiag.observe.onnx.saturation import ActivationWatch, watch_activation
from normdiag.observe.onnx.session import TensorType
from normdiag.wording import abridged

UNKNOWN = TensorType("", None)
_REAL = frozenset({"tensor(float)", "tensor(double)", "tensor(float16)", "tensor(bfloat16)"})


@dataclass(frozen=True, eq=False)
class Plan:
    """The sites to watch, each kind in graph order, the tensor types that go with them, and what is left out.

    `unstored` are BatchNormalization nodes that take their mean and variance from the batch by computing them: watched
    where statistics for them are wanted, and otherwise left out.
    """

    batch_norms: tuple[NormSite, ...]
    unstored: tuple[NormSite, ...]
    groups: tuple[NormSite, ...]
    activations: tuple[ActivationSite, ...]
    types: Mapping[str, TensorType]
    threshold: float
    notes: tuple[str, ...]

    @property
    def replaceable(self) -> tuple[NormSite, ...]:
        """The BatchNorm layers whose stored statistics can be exchanged; those in training mode use none."""
        return tuple(site for site in self.batch_norms if not site.layer.training)

    def shifted(self) -> frozenset[str]:
        """The BatchNorm layers whose sums would lose digits without a shift, as far as stored statistics tell."""
        return frozenset(site.layer.name for site in self.batch_norms if stored_statistics_need_shift(site))


@dataclass(frozen=True, eq=False)
class WatchedGraph:
    """An edited onnx.ModelProto and what its additional outputs hold. `draws`: it wants STRATA as an input."""

    proto: Any
    channels: tuple[ChannelWatch, ...]
    groups: tuple[GroupWatch, ...] = ()
    activations: tuple[ActivationWatch, ...] = ()
    draws: bool = False
    points: tuple[PointWatch, ...] = ()

    @property
    def shiftable(self) -> tuple[ChannelWatch | PointWatch, ...]:
        """What loses digits unless it is shifted, where means are large beside deviations."""
        return (*self.channels, *self.points)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The additional outputs, each once."""
        watches: tuple[ChannelWatch | GroupWatch | ActivationWatch | PointWatch, ...]
        watches = (*self.channels, *self.groups, *self.activations, *self.points)
        return tuple(dict.fromkeys(name for watch in watches for name in watch.outputs))


def watched_tensors(program: OnnxProgram) -> tuple[str, ...]:
    """The tensors whose types must be known."""
    norms = tuple(site.input for site in program.sites if site.watchable or _is_unstored(site))
    return norms + tuple(site.input for site in program.activations if site.watchable)


def make_plan(program: OnnxProgram, types: Mapping[str, TensorType], threshold: float) -> Plan:
    """Sort the sites of a program by how they are watched."""
    norms = {site: _obstacle(site, types) for site in program.sites}
    activations = {site: _activation_obstacle(site, types) for site in program.activations}
    clear = tuple(site for site, why in norms.items() if why is None)
    batch_norms = tuple(site for site in clear if site.layer.kind == "batch_norm")
    left_out = [(s.layer.name, why) for s, why in norms.items() if why is not None]
    notes = _not_watched("norm layer", left_out)
    notes += _not_watched("activation", [(s.name, why) for s, why in activations.items() if why is not None])
    notes += _training_notes(batch_norms)
    return Plan(
        batch_norms,
        tuple(site for site in program.sites if _is_unstored(site) and _element(site, types) in _REAL),
        tuple(site for site in clear if site.layer.kind != "batch_norm"),
        tuple(site for site, why in activations.items() if why is None),
        types,
        threshold,
        tuple(notes),
    )


def deployed_graph(proto: Any, plan: Plan, shifted: frozenset[str]) -> WatchedGraph:
    """Pass E: the model as it is, with everything watched. `shifted` names the layers whose sums are shifted."""
    edit = GraphEdit(proto)
    channels = tuple(_channels(edit, plan, site, shifted) for site in plan.batch_norms)
    groups = tuple(watch_groups(edit, site, plan.types.get(site.input, UNKNOWN)) for site in plan.groups)
    activations = tuple(
        watch_activation(edit, site, plan.types.get(site.input, UNKNOWN), plan.threshold) for site in plan.activations
    )
    return WatchedGraph(edit.build(), channels, groups, activations, edit.reads(STRATA))


def batch_graph(proto: Any, plan: Plan, shifted: frozenset[str]) -> WatchedGraph:
    """Pass B: BatchNormalization uses the batch's own statistics, and its inputs are watched."""
    edit = GraphEdit(proto)
    channels = tuple(_channels(edit, plan, site, shifted) for site in (*plan.batch_norms, *plan.unstored))
    for watch in channels:
        if not watch.site.layer.training:
            use_batch_statistics(edit, watch, plan.types.get(watch.site.input, UNKNOWN))
    return WatchedGraph(edit.build(), channels)


def point_graph(proto: Any, plan: Plan, shifted: frozenset[str]) -> WatchedGraph:
    """As deployed, with sums alone of what enters norms and activations, in graph order."""
    edit = GraphEdit(proto)
    sites: set[NormSite | ActivationSite] = {*plan.batch_norms, *plan.unstored, *plan.groups, *plan.activations}
    points = tuple(
        _point(edit, site, plan.types.get(site.input, UNKNOWN), shifted) for site in sorted(sites, key=_first_node)
    )
    return WatchedGraph(edit.build(), (), points=points)


def linear_graph(
    outputs: Sequence[LinearOutput], types: Mapping[str, TensorType], proto: Any, _: Plan, shifted: frozenset[str]
) -> WatchedGraph:
    """As deployed, with sums alone of what these linear layers put out."""
    edit = GraphEdit(proto)
    points = tuple(watch_output(edit, each, types.get(each.tensor, UNKNOWN), shifted) for each in outputs)
    return WatchedGraph(edit.build(), (), points=points)


def _first_node(site: NormSite | ActivationSite) -> int:
    return min(site.nodes)


def _point(edit: GraphEdit, site: NormSite | ActivationSite, kind: TensorType, shifted: frozenset[str]) -> PointWatch:
    if isinstance(site, NormSite):
        return watch_norm(edit, site, kind, shifted)
    return watch_activation_input(edit, site, kind, shifted)


def _channels(edit: GraphEdit, plan: Plan, site: NormSite, shifted: frozenset[str]) -> ChannelWatch:
    kind = plan.types.get(site.input, UNKNOWN)
    return watch_channels(edit, site, kind, shifted=site.layer.name in shifted)


def _is_unstored(site: NormSite) -> bool:
    layer = site.layer
    return layer.class_name == "BatchNormalization" and layer.running_mean is None and len(site.nodes) == 1


def _element(site: NormSite, types: Mapping[str, TensorType]) -> str:
    return types.get(site.input, UNKNOWN).element


def _obstacle(site: NormSite, types: Mapping[str, TensorType]) -> str | None:
    kind = types.get(site.input, UNKNOWN)
    if not site.watchable:
        return site.obstacle
    if kind.element not in _REAL:
        return f"its input is of type {kind.element or 'unknown'}"
    return None if site.layer.kind == "batch_norm" else group_norms.obstacle(site, kind)


def _activation_obstacle(site: ActivationSite, types: Mapping[str, TensorType]) -> str | None:
    kind = types.get(site.input, UNKNOWN)
    if not site.watchable:
        return site.obstacle
    if kind.element not in _REAL and not site.quantized:
        return f"its input is of type {kind.element or 'unknown'}"
    return saturation.obstacle(site, kind)


def _not_watched(what: str, left_out: Sequence[tuple[str, str | None]]) -> list[str]:
    """One note for each reason."""
    notes = []
    for why in dict.fromkeys(why for _, why in left_out):
        names = [name for name, each in left_out if each == why]
        notes.append(f"{_count(len(names), what)} not watched: {why} ({abridged(names)})")
    return notes


def _training_notes(sites: tuple[NormSite, ...]) -> list[str]:
    names = [site.layer.name for site in sites if site.layer.training]
    if not names:
        return []
    return [
        f"{_count(len(names), 'BatchNorm layer')} in training mode: the model uses the statistics of each batch, not "
        f"the stored ones ({abridged(names)})"
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number > 1 else "")
