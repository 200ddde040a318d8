"""From an ONNX model to the OpGraph that folding plans on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from normdiag.errors import InputError
from normdiag.graph.importers.onnx.attributes import Unclear
from normdiag.graph.importers.onnx.chains import chain_claims
from normdiag.graph.importers.onnx.choices import CHOICE_RULES, choices_together
from normdiag.graph.importers.onnx.claims import Lost, norm_claims
from normdiag.graph.importers.onnx.depth import DEPTH_RULES
from normdiag.graph.importers.onnx.linear import LINEAR_RULES, products_with_bias
from normdiag.graph.importers.onnx.names import Namer, make_namer
from normdiag.graph.importers.onnx.naming import operation_name, uniquely_named
from normdiag.graph.importers.onnx.nodes import DOMAINS, Graph, Node, make_graph
from normdiag.graph.importers.onnx.opaque import opaque
from normdiag.graph.importers.onnx.parameters import make_store
from normdiag.graph.importers.onnx.scope import Claim, GraphScope, Rule, UnnamedOp, captured, make_scope
from normdiag.graph.importers.onnx.sharing import with_sharing
from normdiag.graph.importers.onnx.simple import SIMPLE_RULES
from normdiag.graph.importers.onnx.sites import Sites, find_sites, split_sites
from normdiag.graph.importers.onnx.view import GraphView, view_of
from normdiag.graph.importers.onnx.windows import WINDOW_RULES
from normdiag.models.onnx.external import TensorReader
from normdiag.models.onnx.parse import check_names
from normdiag.models.onnx.program import NormSite, opset_of
from normdiag.records import Constant, Norm, Op, Opaque, OpGraph

# Before, elementwise operators broadcast in another way; nothing of that age can be folded anyway.
OLDEST_OPSET = 7
OVERLAP = "its nodes are part of another layer too"
RULES: Mapping[str, Rule] = {**LINEAR_RULES, **WINDOW_RULES, **SIMPLE_RULES, **CHOICE_RULES, **DEPTH_RULES}
# Operators whose further inputs say how to rearrange the first; rules read only those that are fixed.
STRUCTURED = frozenset(
    {"Reshape", "Squeeze", "Unsqueeze", "Resize", "Upsample", "Pad", "Slice", "Split", "Gather", "Expand", "Tile"}
    | {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"}
)


def op_graph(
    model: Any, reader: TensorReader, known: Sequence[NormSite] | None = None, view: GraphView | None = None
) -> OpGraph:
    """The computation of the main graph of an onnx.ModelProto as it was parsed, local functions not written out.

    `Op.nodes` are indexes into `model.graph.node`. Nothing large is read: `Parameter.read` gets values through
    `reader`. A parameter is named after the tensor that the operation reads, and has the type in which it reads
    it; where that is computed from constants, writing it means a new initializer of that name or another. Nodes that
    only take the dimensions of a tensor (Shape, Size) do not read it here: who removes a tensor must give them
    another one of the same shape, such as the input or the output of the norm that is gone. What is known of
    initializers that are also graph inputs stands in parameters.py. `known` are the layers of this very model, and
    `view` is what is known of its tensors, where they were found before.

    Raises InputError where nodes read what nothing before them writes, where two write the same tensor, and where
    parameters of normalization layers are damaged.
    """
    check_names(model.graph, reader.path)
    _check(model, make_graph(model.graph, opset_of(model)) if view is None else view.graph, reader)
    view = view_of(model, reader) if view is None else view
    graph, constants, book = view.graph, view.constants, view.book
    scope = make_scope(model, graph, make_store(constants, book, model.ir_version), book)
    sites = find_sites(model, view) if known is None or model.functions else split_sites(known)
    claims, lost = _claims(scope, sites)
    unreached = (*sites.unreached, *lost)
    ops = with_sharing(_ops(scope, claims, tuple(layer.name for layer, _ in unreached)), scope)
    return OpGraph(
        ops=ops,
        inputs=tuple(value.name for value in model.graph.input if value.name not in constants.initializers),
        outputs=tuple(output.name for output in model.graph.output),
        sizes=book.sizes,
        dtypes=book.dtypes,
        pinned=_pinned(graph),
        unreached=unreached,
    )


def _claims(scope: GraphScope, sites: Sites) -> tuple[Mapping[int, Claim], tuple[Lost, ...]]:
    """Operations by the nodes that they are made of; norms first, then what they leave."""
    free = {node.index for node in scope.graph.nodes if not _is_constant(scope, node)}
    claims: dict[int, Claim] = {}
    norms, lost = norm_claims(scope, sites)
    finders = (products_with_bias, choices_together, chain_claims) if scope.opset >= OLDEST_OPSET else ()
    for found in (norms, *(finder(scope, free) for finder in finders)):
        for claim in tuple(found):
            if free.issuperset(claim.nodes):
                claims.update(dict.fromkeys(claim.nodes, claim))
                free.difference_update(claim.nodes)
            elif isinstance(claim.draft.detail, Norm):
                lost += ((claim.draft.detail.layer, OVERLAP),)
    return claims, lost


def _ops(scope: GraphScope, claims: Mapping[int, Claim], taken: tuple[str, ...]) -> tuple[Op, ...]:
    """All operations; `taken` are the names of layers that are none of them."""
    namer = make_namer(scope.graph.nodes)
    drafted = [_claim(scope, node, claims) for node in scope.graph.nodes]
    branches = dict.fromkeys(
        name for claim in drafted if claim is not None for name in claim.draft.inputs if scope.store.is_constant(name)
    )
    stored = scope.store.constants.initializers
    ops = [_stored(scope, name) for name in branches if name in stored]
    for node, claim in zip(scope.graph.nodes, drafted, strict=True):
        if _is_constant(scope, node):
            ops.append(_constant(scope, node, branches))
        elif claim is not None and claim.at == node.index:
            ops += _made(scope, claim, namer)
    return uniquely_named(ops, taken)


def _claim(scope: GraphScope, node: Node, claims: Mapping[int, Claim]) -> Claim | None:
    if node.index in claims:
        return claims[node.index]
    if _is_constant(scope, node):
        return None
    return Claim(_draft(scope, node), node.op, node.outputs, (node.index,), node.index)


def _draft(scope: GraphScope, node: Node) -> UnnamedOp:
    rule = RULES.get(node.op) if not node.domain and scope.opset >= OLDEST_OPSET else None
    if rule is None or not node.inputs or not node.inputs[0] or not node.outputs or not node.outputs[0]:
        return opaque(scope, node)
    try:
        if node.op in STRUCTURED and not all(map(scope.is_structure, filter(None, node.inputs[1:]))):
            raise Unclear("whose shape depends on data")
        return rule(scope, node)
    except Unclear as unclear:
        return opaque(scope, node, str(unclear))
    except (ValueError, TypeError, LookupError, ArithmeticError):
        return opaque(scope, node, "whose attributes and inputs do not fit together")


def _made(scope: GraphScope, claim: Claim, namer: Namer) -> list[Op]:
    """The operation, or its steps one after the other, with tensors between them that are in no file."""
    first = scope.graph.nodes[claim.nodes[0]]
    ops, inputs = [], claim.draft.inputs
    for number, draft in enumerate(steps := claim.draft.steps):
        name = draft.name or operation_name(draft.kind, first, draft.detail, namer)
        last = number == len(steps) - 1
        outputs = claim.outputs if last else (_between(scope, claim.outputs[0], inputs[0], draft),)
        ops.append(Op(name, draft.kind, claim.operator, inputs, outputs, draft.detail, claim.nodes))
        inputs = outputs
    return ops


def _between(scope: GraphScope, output: str, data: str, draft: UnnamedOp) -> str:
    """A tensor between two steps of one node."""
    book, name = scope.book, f"{output}'"
    while name in scope.readers or name in book.sizes or scope.graph.producer(name) is not None:
        name += "'"
    if draft.sizes is not None:
        book.sizes[name] = draft.sizes
    if data in book.dtypes:
        book.dtypes[name] = book.dtypes[data]
    return name


def _constant(scope: GraphScope, node: Node, branches: Mapping[str, None]) -> Op:
    name = node.name or node.outputs[0]
    detail: Constant | Opaque = Opaque("a constant")
    if len(node.outputs) == 1 and node.outputs[0] in branches:
        detail = _value(scope, node.outputs[0])
    return Op(name, "constant", node.op, (), node.outputs, detail, (node.index,))


def _stored(scope: GraphScope, name: str) -> Op:
    return Op(name, "constant", "initializer", (), (name,), _value(scope, name))


def _value(scope: GraphScope, name: str) -> Constant | Opaque:
    try:
        return Constant(scope.store.parameter(name))
    except Unclear:
        return Opaque("a constant of unknown shape or type")


def _is_constant(scope: GraphScope, node: Node) -> bool:
    return any(node.outputs) and all(scope.store.is_constant(name) for name in node.outputs if name)


def _pinned(graph: Graph) -> Mapping[str, str]:
    return {
        name: f"a subgraph of {node.op} {node.name or node.outputs[0]!r} reads it"
        for name, node in captured(graph).items()
    }


def _check(model: Any, graph: Graph, reader: TensorReader) -> None:
    """Every tensor is written once, before those who read it."""
    written = {value.name for value in (*graph.proto.input, *graph.proto.initializer)}
    written |= {sparse.values.name for sparse in graph.proto.sparse_initializer}
    own = {f.name for f in model.functions if not DOMAINS.get(f.domain, f.domain)}
    for node in graph.nodes:
        where = f"{reader.path}: {node.op} {node.name or next(iter(node.outputs), '')!r}"
        missing = next((name for name in node.inputs if name and name not in written), None)
        if missing is not None:
            raise InputError(f"{where} reads {missing!r}, which nothing before it writes; export the model again")
        again = next((name for name in node.outputs if name and name in written), None)
        if again is not None:
            raise InputError(f"{where} writes {again!r}, which is there already; export the model again")
        if not node.domain and node.op in own:
            raise InputError(f"{where} is a local function under the name of a standard operator; inline it first")
        written.update(filter(None, node.outputs))
    lost = next((output.name for output in graph.proto.output if output.name not in written), None)
    if lost is not None:
        raise InputError(f"{reader.path}: its output {lost!r} is written by no node; export the model again")
