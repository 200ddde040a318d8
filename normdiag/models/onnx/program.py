"""What an ONNX file says: the graph that runs, and where its normalization layers and activations sit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from normdiag.models.onnx.external import TensorReader
from normdiag.ops import Activation
from normdiag.records import Feeding, FoldedNorm, InputSpec, NormLayer

Where = Literal["graph", "subgraph"]


@dataclass(frozen=True, eq=False)
class NormSite:
    """One normalization layer in the graph.

    `input` is the tensor that is normalized, (N, C, ...) for batch, group and instance norm; `output` the tensor after
    gamma and beta. Where the operator adds tensors first (SkipLayerNormalization), `addends` names them, the
    normalized tensor is their sum, and `input` is the first. `nodes` are the indexes into `proto.graph.node` of
    what the layer is made of, ascending; empty in a subgraph. `axes` are the axes of `input` that one mean
    is taken over, negative ones from the end; empty for batch norm and where each group spans C / groups channels and
    all positions. `channel_axis` is the axis of C, or for layer and RMS norm of the features. `rank` is that of
    `input`, None if unknown. A site that cannot be watched says why in `obstacle`. `parameters` names the gamma and
    beta of a layer that several nodes spell out.
    """

    layer: NormLayer
    input: str
    output: str
    nodes: tuple[int, ...] = ()
    where: Where = "graph"
    axes: tuple[int, ...] = ()
    channel_axis: int = 1
    rank: int | None = None
    addends: tuple[str, ...] = ()
    obstacle: str | None = None
    parameters: tuple[str, str] = ("", "")

    @property
    def watchable(self) -> bool:
        """Whether the tensors of this layer can be read from outside while the graph runs."""
        return self.obstacle is None


@dataclass(frozen=True, eq=False)
class ActivationSite:
    """One activation in the graph: y = f(x) elementwise, x the tensor `input`, y the tensor `output`.

    `unit_axis` is the axis of the units; it may be negative. `nodes`, `where`, `rank` and `obstacle` as for NormSite.
    `quantized` are the scale and the zero point of an `input` of integers, by which x is read from it.
    """

    name: str
    function: Activation
    input: str
    output: str
    nodes: tuple[int, ...] = ()
    where: Where = "graph"
    unit_axis: int = 1
    rank: int | None = None
    obstacle: str | None = None
    quantized: tuple[str, ...] = ()

    @property
    def watchable(self) -> bool:
        """Whether the tensors of this activation can be read from outside while the graph runs."""
        return self.obstacle is None


@dataclass(frozen=True, eq=False)
class OnnxProgram:
    """A parsed model: `proto` is an onnx.ModelProto whose local functions are inlined.

    Its external data and the values of its large weights stay on disk; `reader` reads any of its tensors. `folder` is
    where external data is looked for (every location is checked to lie inside it). `sites` and `activations`, once they
    were looked for, are in graph order, those of a subgraph at the place of the node that holds it. `inputs` are the
    graph inputs that a user must feed. `parameters` counts the elements of all floating-point initializers. `folded`
    and `skipped` as in Model. `view` is what the importer keeps of the graph for whoever reads it next. `outputs` are
    declared like inputs; `feeding` says how the inputs are fed, `provider` where
    onnxruntime runs it (None: on the CPU).
    """

    proto: Any
    reader: TensorReader
    folder: Path
    sites: tuple[NormSite, ...] = ()
    activations: tuple[ActivationSite, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    parameters: int = 0
    notes: tuple[str, ...] = ()
    view: Any = None
    folded: tuple[FoldedNorm, ...] = ()
    skipped: tuple[str, ...] = ()
    outputs: tuple[InputSpec, ...] = ()
    feeding: Feeding = field(default_factory=Feeding)
    provider: str | None = None


def opset_of(model: Any) -> int:
    """The version of the standard operator set of an onnx.ModelProto, 0 where none is named."""
    return next((int(each.version) for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
