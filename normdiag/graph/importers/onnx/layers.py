"""The normalization layers and activations of an ONNX model, with the places in its graph where they are."""

from __future__ import annotations

from dataclasses import replace

from normdiag.graph.importers.onnx.folded import folded_norms
from normdiag.graph.importers.onnx.names import unique
from normdiag.graph.importers.onnx.scan import scan
from normdiag.graph.importers.onnx.view import view_of
from normdiag.models.onnx import ActivationSite, NormSite, OnnxProgram


def with_layers(program: OnnxProgram) -> OnnxProgram:
    """The same program with its normalization layers and activations, uniquely named, and notes on what is neither.

    Nothing is run, and of external data only parameters of norms are read. Raises InputError where these are damaged.
    """
    view = view_of(program.proto, program.reader)
    found = list(scan(view))
    sites = [site for site in found if isinstance(site, NormSite)]
    activations = [site for site in found if isinstance(site, ActivationSite)]
    skipped = tuple(note for note in found if isinstance(note, str))
    names, kinds = unique(site.layer.name for site in sites), unique(site.name for site in activations)
    return replace(
        program,
        sites=tuple(replace(s, layer=replace(s.layer, name=name)) for s, name in zip(sites, names, strict=True)),
        activations=tuple(replace(site, name=name) for site, name in zip(activations, kinds, strict=True)),
        notes=(*program.notes, *skipped),
        folded=folded_norms(view.graph),
        view=view,
        skipped=skipped,
    )
