"""Running an ONNX model with its normalization layers and activations watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np

from normdiag.models.onnx import OnnxProgram
from normdiag.observe.gap import compare_outputs
from normdiag.observe.onnx.batch_axis import free_batch
from normdiag.observe.onnx.feed import graph_inputs, make_feed
from normdiag.observe.onnx.norm_inputs import NormInputs
from normdiag.observe.onnx.overridable import overridable_graph, statistics_feed
from normdiag.observe.onnx.plan import (
    Plan,
    WatchedGraph,
    batch_graph,
    deployed_graph,
    linear_graph,
    make_plan,
    point_graph,
    watched_tensors,
)
from normdiag.observe.onnx.points import LinearOutput
from normdiag.observe.onnx.prepared import PreparedGraph
from normdiag.observe.onnx.sampling import STRATA, strata
from normdiag.observe.onnx.session import Session, Setting, Values, is_little, tensor_types
from normdiag.observe.onnx.weights import split_weights
from normdiag.observe.points import array_points, input_points
from normdiag.observe.protocol import Outputs, ReplacedStatistics, SeenBatch
from normdiag.observe.sampled import SEED
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.records import Batch, ChannelSums, Evidence, LayerEvidence, Model, NormLayer, Point, PointSums, Span
from normdiag.records.precision import NormRows
from normdiag.records.recalibration import PopulationSums

Build = Callable[[Any, Plan, frozenset[str]], WatchedGraph]


class OnnxRunner:
    """Runs an OnnxProgram in onnxruntime on the CPU; satisfies normdiag.observe.protocol.Runner."""

    def __init__(self, model: Model, *, threshold: float = SATURATION_THRESHOLD) -> None:
        """`threshold` on |f'| / max|f'| bounds the saturated tails.

        Raises InputError where onnxruntime cannot run the model.
        """
        program: OnnxProgram = model.program
        skeleton = split_weights(program.proto, program.reader)
        self._where = model.info.path or "the model"
        self._setting = Setting(program.folder, self._where, skeleton.weights, provider=program.provider)
        self._feeding = program.feeding
        freed = free_batch(skeleton.proto, self._setting, self._feeding)
        self._proto, self._fixed_batch = freed.proto, freed.fixed_batch
        self._inputs = graph_inputs(self._proto, self._where)
        self._outputs = tuple(output.name for output in self._proto.graph.output)
        types = tensor_types(self._proto, watched_tensors(program), self._setting)
        self._plan = make_plan(program, types, threshold)
        self._layers = tuple(site.layer for site in program.sites)
        self._notes = (*freed.notes, *self._plan.notes)
        self._random = np.random.default_rng(SEED)
        self._deployed, self._batch = self._watched(deployed_graph), self._watched(batch_graph)
        self._linear: WatchedPass | None = None

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size that the model accepts, or None."""
        return self._fixed_batch

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be watched or measured, one sentence each."""
        refused = (each.note for each in (self._deployed, self._batch))
        return (*self._notes, *dict.fromkeys(note for note in refused if note is not None))

    def layers(self) -> tuple[NormLayer, ...]:
        """The normalization layers in graph order."""
        return self._layers

    def observe(self, batch: Batch) -> Evidence:
        """What `run` sees, as sums alone."""
        return self.run(batch).evidence

    def run(self, batch: Batch) -> SeenBatch:
        """Pass E and, with two samples or more and a BatchNorm to replace, pass B of one batch."""
        feed = make_feed(self._inputs, batch, self._where, self._feeding)
        graph, values = self._deployed.run(feed)
        span = batch.span
        sums = {watch.site.layer.name: watch.sums(values, span) for watch in graph.channels}
        layers = {name: LayerEvidence(1, deployed=each) for name, each in sums.items()}
        layers |= {watch.site.layer.name: LayerEvidence(1, groups=watch.sums(values, span)) for watch in graph.groups}
        activations = {watch.site.name: watch.sums(values, self._random, span) for watch in graph.activations}
        reference = {name: values[name] for name in self._outputs}
        own, batched = self._batch_pass(feed, batch.together) if batch.size > 1 and self._plan.replaceable else ({}, {})
        outputs = compare_outputs(reference, batched, batch.whole)
        layers |= {name: layers[name] + LayerEvidence(own=each) for name, each in own.items()}
        ordered = {layer.name: layers[layer.name] for layer in self._layers if layer.name in layers}
        gap_samples = batch.size if outputs else 0
        evidence = Evidence(batch.size, 1, batch.size, gap_samples, ordered, activations, outputs)
        return SeenBatch(evidence, reference, batched)

    def population(self, batch: Batch, *, batch_statistics: bool = True) -> Mapping[str, PopulationSums]:
        """Sums of every BatchNorm with running statistics: of pass B, or as deployed."""
        watched = self._batch if batch_statistics else self._deployed
        graph, values = watched.run(make_feed(self._inputs, batch, self._where, self._feeding))
        return {watch.site.layer.name: watch.population(values, batch.together) for watch in graph.channels}

    def points(self, batch: Batch) -> Mapping[Point, PointSums]:
        """Sums of the inputs, of what enters norms and activations, and of the outputs."""
        graph, values = self._points.run(make_feed(self._inputs, batch, self._where, self._feeding))
        seen = {watch.point: watch.sums(values, batch.span) for watch in graph.points}
        outputs = {name: values[name] for name in self._outputs}
        return {**input_points(batch), **seen, **array_points("output", outputs, batch.span)}

    def norm_rows(self, batch: Batch) -> Mapping[str, NormRows]:
        """The groups that the norms other than BatchNorm normalize, whole, by layer: for a few samples."""
        feed = make_feed(self._inputs, batch, self._where, self._feeding)
        return NormInputs(self._proto, self._plan, self._setting).rows(feed, batch.size)

    @property
    def prepared(self) -> PreparedGraph:
        """The graph as it is run."""
        return PreparedGraph(self._proto, self._setting, self._inputs, self._feeding, self._plan)

    def linear_points(self, batch: Batch, outputs: tuple[LinearOutput, ...]) -> Mapping[Point, PointSums]:
        """Sums of what linear layers put out, the same ones in every call."""
        if self._linear is None:
            types = tensor_types(self._proto, [each.tensor for each in outputs], self._setting)
            self._linear = self._watched(partial(linear_graph, outputs, types))
        graph, values = self._linear.run(make_feed(self._inputs, batch, self._where, self._feeding))
        return {watch.point: watch.sums(values, batch.span) for watch in graph.points}

    def outputs(
        self,
        batch: Batch,
        *,
        batch_statistics: bool = False,
        statistics: Mapping[str, ReplacedStatistics] | None = None,
    ) -> Outputs:
        """The model's outputs by name: as deployed, as in pass B, or with some layers' statistics replaced."""
        feed = make_feed(self._inputs, batch, self._where, self._feeding)
        if batch_statistics:
            _, values = self._batch.run(feed)
            return {name: values[name] for name in self._outputs}
        return self._overridable.run(self._outputs, feed | statistics_feed(self._plan, statistics or {}))

    @cached_property
    def _points(self) -> WatchedPass:
        return self._watched(point_graph)

    @cached_property
    def _overridable(self) -> Session:
        return Session(overridable_graph(self._proto, self._plan), self._setting)

    def _batch_pass(self, feed: Values, span: Span) -> tuple[dict[str, ChannelSums], Outputs]:
        graph, values = self._batch.run(feed)
        sums = {watch.site.layer.name: watch.sums(values, span) for watch in graph.channels}
        return {name: each for name, each in sums.items() if each is not None}, {
            name: values[name] for name in self._outputs
        }

    def _watched(self, build: Build) -> WatchedPass:
        return WatchedPass(self._proto, self._plan, build, self._outputs, self._setting, self._random)


class WatchedPass:
    """One of the graphs and its session, made on first use, and made anew where more is fed than it was made for.

    Where the data shows that unshifted sums lose digits in a layer, the graph is made anew with a shift there.
    """

    def __init__(
        self,
        proto: Any,
        plan: Plan,
        build: Build,
        outputs: tuple[str, ...],
        setting: Setting,
        random: np.random.Generator,
    ) -> None:
        """`build` makes the graph; `outputs` are the model's own, fetched beside what is watched."""
        self._random = random
        self._proto, self._plan, self._build = proto, plan, build
        self._outputs, self._setting = outputs, setting
        self._shifted = plan.shifted()
        self._ready: tuple[WatchedGraph, Session] | None = None

    @property
    def note(self) -> str | None:
        """What its session has to say, once it is there."""
        return None if self._ready is None else self._ready[1].note

    def run(self, feed: Values) -> tuple[WatchedGraph, Values]:
        """What is watched, and the values of its outputs and of the model's."""
        while True:
            graph, session = self._ready or self._prepared(feed)
            if session.little and not is_little(feed):
                self._ready = None
                continue
            drawn = {STRATA: strata(self._random)} if graph.draws else {}
            values = session.run((*self._outputs, *graph.outputs), {**feed, **drawn})
            lost = {watch.name for watch in graph.shiftable if watch.lost_digits(values)} - self._shifted
            if not lost:
                return graph, values
            self._shifted |= lost
            self._ready = None

    def _prepared(self, feed: Values) -> tuple[WatchedGraph, Session]:
        graph = self._build(self._proto, self._plan, self._shifted)
        self._ready = graph, Session(graph.proto, self._setting, little=is_little(feed))
        return self._ready
