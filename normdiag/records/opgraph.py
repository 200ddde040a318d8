"""The computation of a model without its framework: what folding, graph rules and analysis without data read.

Tensors are named; `OpGraph.sizes` holds their dimensions. An `Op` is one operation, or several nodes of the file that
are one in effect (MatMul + Add, a decomposed norm). What it does to its data stands in its `detail`; parameters are
read only when asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from normdiag.records.model import NormLayer
from normdiag.records.ops import Detail, Sizes

OpKind = Literal[
    "conv",
    "conv_transpose",
    "linear",
    "norm",
    "scale_shift",
    "activation",
    "add",
    "concat",
    "split",
    "pool",
    "resize",
    "pad",
    "reshape",
    "transpose",
    "dropout",
    "identity",
    "constant",
    "other",
]


@dataclass(frozen=True, eq=False)
class Op:
    """One operation. `name` is what users know it by (module path or node name), `operator` the file's word for it.

    `inputs` are the data tensors that it reads, in order, without parameters; `outputs` what it writes ("" where left
    out). `nodes` are the indexes of the nodes that it is made of in its backend's graph, ascending.
    """

    name: str
    kind: OpKind
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    detail: Detail
    nodes: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class OpGraph:
    """Ops in an order in which they can run.

    `outputs` are the names of the graph's outputs. `sizes` has a tuple of Size for every tensor whose rank is known,
    `dtypes` the numpy name of its element type where known. `pinned` names further tensors that must keep their values,
    with the reason: those that a subgraph reads, for one. `unreached` are norms that lie where no edit is made (a
    subgraph, a local function), with the reason. `stored` has what users know a parameter by, by `Parameter.name`,
    where that is another name. `fixed`: the code of the model stays, so that parameters may get other values, and no op
    goes, or gets a parameter that it has not.
    """

    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sizes: Mapping[str, Sizes] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    pinned: Mapping[str, str] = field(default_factory=dict)
    unreached: tuple[tuple[NormLayer, str], ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)
    fixed: bool = False
