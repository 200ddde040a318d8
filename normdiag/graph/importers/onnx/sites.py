"""The normalization layers of a model under the names that `inspect` gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from normdiag.graph.importers.onnx.layers import find_layers
from normdiag.graph.importers.onnx.view import GraphView, view_of
from normdiag.models.onnx.parse import inline_functions
from normdiag.models.onnx.program import NormSite
from normdiag.records import NormLayer

IN_SUBGRAPH = "it lies in the body of an If, Loop or Scan, where nothing is changed"
IN_FUNCTION = "it lies in a local function, where nothing is changed"
# More than any norm's parameters take; larger initializers only matter to those who run the model.
MAX_ELEMENTS = 2**18


@dataclass(frozen=True, eq=False)
class Sites:
    """Layers in the main graph, and those that are out of reach with the reason."""

    main: tuple[NormSite, ...]
    unreached: tuple[tuple[NormLayer, str], ...]


def find_sites(model: Any, view: GraphView) -> Sites:
    """All layers that `inspect` reports; it looks into local functions by writing them out."""
    found, *_ = find_layers(view)
    if not model.functions:
        return split_sites(found)
    main = tuple(site for site in found if site.where == "graph")
    reader = view.constants.reader
    inlined, *_ = find_layers(view_of(inline_functions(_light(model), reader.path), reader))
    outputs = {site.output for site in main}
    names = {site.output: site.layer.name for site in inlined if site.where == "graph"}
    return Sites(
        tuple(_renamed(site, names) for site in main),
        tuple(_outside(site) for site in inlined if site.where != "graph" or site.output not in outputs),
    )


def split_sites(found: Sequence[NormSite]) -> Sites:
    """The layers of a graph that has no local functions."""
    main = tuple(site for site in found if site.where == "graph")
    return Sites(main, tuple((site.layer, IN_SUBGRAPH) for site in found if site.where != "graph"))


def _renamed(site: NormSite, names: Mapping[str, str]) -> NormSite:
    return replace(site, layer=replace(site.layer, name=names.get(site.output, site.layer.name)))


def _outside(site: NormSite) -> tuple[NormLayer, str]:
    return site.layer, IN_FUNCTION if site.where == "graph" else IN_SUBGRAPH


def _light(model: Any) -> Any:
    """The model without large initializers, so that it can be written out in memory."""
    import onnx

    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    kept = (t for t in model.graph.initializer if t.data_location == t.EXTERNAL or math.prod(t.dims) <= MAX_ELEMENTS)
    light.graph.initializer.extend(kept)
    return light
