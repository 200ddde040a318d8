"""The normalization layers and activations of an ONNX model, with the places in its graph where they are."""

from __future__ import annotations

from dataclasses import replace

from normdiag.graph.importers.onnx.folded import folded_norms
from normdiag.graph.importers.onnx.names import unique
from normdiag.graph.importers.onnx.scan import scan
from normdiag.graph.importers.onnx.view import GraphView, view_of
from normdiag.models.onnx import ActivationSite, NormSite, OnnxProgram


def with_layers(program: OnnxProgram) -> OnnxProgram:
    """The same program with its normalization layers and activations, uniquely named, and notes on what is neither.

    Nothing is run, and of external data only parameters of norms are read. Raises InputError where these are damaged.
    """
    view = view_of(program.proto, program.reader)
    sites, activations, skipped = find_layers(view)
    return replace(
        program,
        sites=sites,
        activations=activations,
        notes=(*program.notes, *skipped),
        folded=folded_norms(view.graph),
        skipped=skipped,
        view=view,
    )


def find_layers(view: GraphView) -> tuple[tuple[NormSite, ...], tuple[ActivationSite, ...], tuple[str, ...]]:
    """The normalization layers and the activations of a graph, uniquely named, and notes on what was skipped."""
    found = list(scan(view))
    sites = [site for site in found if isinstance(site, NormSite)]
    activations = [site for site in found if isinstance(site, ActivationSite)]
    names, kinds = unique(site.layer.name for site in sites), unique(site.name for site in activations)
    return (
        tuple(replace(site, layer=replace(site.layer, name=name)) for site, name in zip(sites, names, strict=True)),
        tuple(replace(site, name=name) for site, name in zip(activations, kinds, strict=True)),
        tuple(note for note in found if isinstance(note, str)),
    )
