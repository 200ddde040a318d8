"""BatchNorm layers that an exporter folded into the layers before them, told from the traces that this leaves.

torch.onnx does so by default, with either exporter. The newer one (`dynamo=True`) keeps on the fused node the metadata
of the BatchNorm; the older one, onnxoptimizer, tf2onnx and onnxruntime give the new weights names of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from normdiag.graph.importers.onnx.names import module_path, parameter_prefix
from normdiag.graph.importers.onnx.nodes import Graph, Node
from normdiag.records import FoldedNorm

LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
CLASSES = "pkg.torch.onnx.class_hierarchy"
REWRITES = "pkg.onnxscript.rewriter.rule_name"


@dataclass(frozen=True)
class Names:
    """How a tool names the weight and the bias that it made out of a convolution and a BatchNorm."""

    tool: str
    weight: re.Pattern[str]
    bias: re.Pattern[str]


# Both are looked for: weight normalization rewrites the weight alone.
NAMES = (
    Names("torch.onnx", re.compile(r"onnx::Conv_\d+"), re.compile(r"onnx::Conv_\d+")),
    Names("tf2onnx", re.compile(r".*_weights_fused_bn"), re.compile(r".*_bias_fused_bn")),
    Names("onnxruntime", re.compile(r"ConvBnFusion_W_.*"), re.compile(r"ConvBnFusion_BN_B_.*")),
)
# torch.onnx before 1.12 and onnxoptimizer: '402', where weights that were left alone have names.
NUMBERED = Names("torch.onnx", re.compile(r"\d+"), re.compile(r"\d+"))
# What quantization puts after the name of a weight.
QUANTIZED = re.compile(r"_(?:quantized|DequantizeLinear_Output|DequantizeLinear)$")


def folded_norms(graph: Graph) -> tuple[FoldedNorm, ...]:
    """The BatchNorm layers of which the graph shows that they were folded, in its order."""
    stored = frozenset(_plain(tensor.name) for tensor in graph.proto.initializer)
    styles = (*NAMES, NUMBERED) if any(map(parameter_prefix, stored)) else NAMES
    return tuple(norm for node in graph.nodes if (norm := _folded(node, stored, styles)) is not None)


def _folded(node: Node, stored: frozenset[str], styles: Iterable[Names]) -> FoldedNorm | None:
    if node.domain or node.op not in LINEAR:
        return None
    facts = {prop.key: prop.value for prop in node.proto.metadata_props}
    weight, bias = _plain(node.input(1)), _plain(node.input(2))
    if _was_batch_norm(facts):
        layer = parameter_prefix(weight) or node.name
        return FoldedNorm(module_path(node) or None, layer, "torch.onnx (dynamo)", certain=True)
    for style in styles if {weight, bias} <= stored else ():
        if style.weight.fullmatch(weight) and style.bias.fullmatch(bias):
            return FoldedNorm(None, module_path(node) or node.name or weight, style.tool, certain=False)
    return None


def _was_batch_norm(facts: Mapping[str, str | bytes]) -> bool:
    """Whether a linear node carries the metadata of a BatchNorm, as it does where the two were made into one."""
    rewrites, classes = facts.get(REWRITES, ""), facts.get(CLASSES, "")
    if isinstance(rewrites, bytes) or isinstance(classes, bytes):
        return False
    return "FuseBatchNorm" in rewrites or "batch_norm" in classes.rpartition(",")[2]


def _plain(name: str) -> str:
    """The name of a weight as it was before quantization."""
    return QUANTIZED.sub("", name)
