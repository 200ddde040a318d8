"""The activations of a graph with the places where they can be watched.

The output of a Softmax is no activation in this sense, and is left out, as are the gates inside LSTM and GRU operators.
"""

from __future__ import annotations

from collections.abc import Mapping

from normdiag.graph.importers.onnx.features import Axes, unit_axis
from normdiag.graph.importers.onnx.functions import adds_bias, quantized_by
from normdiag.graph.importers.onnx.steps import OnnxTensors
from normdiag.graph.recognise.activations import Activated, find_activations
from normdiag.models.onnx.program import ActivationSite

BIAS_INSIDE = "its bias is added inside the operator"


def activation_sites(tensors: OnnxTensors, axes: Axes) -> Mapping[int, ActivationSite]:
    """By the index of the node that completes them. Names are the nodes' own."""
    found = find_activations(tensors.steps.values(), tensors)
    return {place: _site(each, tensors, axes) for place, each in found.items()}


def _site(found: Activated, tensors: OnnxTensors, axes: Axes) -> ActivationSite:
    """The units lie where the features of the input do, or those of the output where nothing is known of the input."""
    node, tensor = tensors.graph.nodes[found.core], found.input
    if axes.get(tensor) is None and tensors.rank(tensor) is None:
        tensor = found.output
    rank = tensors.rank(tensor)
    return ActivationSite(
        name=node.name,
        function=found.function,
        input=found.input,
        output=found.output,
        nodes=found.nodes,
        unit_axis=unit_axis(axes.get(tensor), rank),
        rank=rank,
        obstacle=BIAS_INSIDE if adds_bias(node) else None,
        quantized=quantized_by(node),
    )
