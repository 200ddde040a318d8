"""The weights of a folded model under the names of the original's own architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from normdiag.errors import InputError
from normdiag.folding.pytorch.apply import Applied, Change
from normdiag.folding.pytorch.export import ExportedModule, deployed_copy, different_output, eager_outputs
from normdiag.folding.pytorch.load import load_folded, parametrization_keys
from normdiag.folding.pytorch.neutral import neutral_value
from normdiag.folding.pytorch.running import TorchEvaluator
from normdiag.observe.pytorch.values import model_dtype
from normdiag.records import FoldPlan, Norm, OpGraph

INSTEAD = "write .pt2 or .onnx instead"


def folded_state(exported: ExportedModule, graph: OpGraph, plan: FoldPlan, applied: Applied) -> dict[str, Tensor]:
    """The state dict that `load_folded` puts into the original architecture, tried out on the example.

    Raises InputError where that architecture without its norms cannot express the folded model: where a module does
    more than the norm that is gone, or where one layer of it is now two.
    """
    if exported.module is None:
        raise InputError(f"weights need the code of the model, and a program has none of its own; {INSTEAD}")
    if plan.shifts:
        name = graph.ops[next(iter(plan.shifts))].name
        raise InputError(f"weights cannot express what becomes of {name!r}, an addition; {INSTEAD}")
    if plan.beside:
        name = graph.ops[next(iter(plan.beside))].name
        raise InputError(f"weights cannot express that {name!r}, which was added, is part of a convolution; {INSTEAD}")
    state = _State(exported.module, exported.program, graph)
    for index in plan.removed:
        state.drop(index, plan.removed)
    for index in plan.stripped:
        state.strip(index)
    for change in applied.changes:
        state.change(change)
    _try_out(exported, applied.program, state.tensors)
    return state.tensors


def _try_out(exported: ExportedModule, program: ExportedProgram, tensors: Mapping[str, Tensor]) -> None:
    """Load them as the user will, and compare with the folded program."""
    assert exported.module is not None
    try:
        rebuilt = load_folded(deployed_copy(exported.module), tensors)
        found = TorchEvaluator(program).run(exported.example)
        wrong = different_output(eager_outputs(rebuilt, exported.example), found, model_dtype(rebuilt))
    except InputError as error:
        raise InputError(f"the model's code does not run with the folded weights: {error}; {INSTEAD}") from error
    if wrong:
        raise InputError(f"the weights alone would not give the folded model: {wrong!r} would differ; {INSTEAD}")


@dataclass
class _State:
    module: nn.Module
    program: ExportedProgram
    graph: OpGraph
    tensors: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.tensors = {name: value for name, value in self.module.state_dict().items() if isinstance(value, Tensor)}
        self._stored = frozenset(self.tensors)
        self._nodes = list(self.program.graph.nodes)
        self._data = _data_nodes(self.program)
        self._set: set[str] = set()

    def drop(self, index: int, removed: tuple[int, ...]) -> None:
        """The norm's module is gone, with all that it stores."""
        op = self.graph.ops[index]
        path = op.name.partition("#")[0]
        if not path or self._submodule(path) is None:
            raise InputError(f"{op.name!r} is no module that could be taken out of the model's code; {INSTEAD}")
        gone = {self._nodes[number] for each in removed for number in self.graph.ops[each].nodes}
        rest = [node for node in self._data if path in _paths(node) and node not in gone]
        if rest:
            raise InputError(f"the module {path!r} does more than normalize ({rest[0].name}); {INSTEAD}")
        for prefix in self._prefixes(path):
            self.tensors = {name: each for name, each in self.tensors.items() if not name.startswith(prefix)}

    def strip(self, index: int) -> None:
        """The norm keeps its place and loses gamma and beta: for modules that cannot do without, they are 1 and 0."""
        op = self.graph.ops[index]
        assert isinstance(op.detail, Norm)
        if isinstance(self._submodule(op.name), nn.LayerNorm | nn.RMSNorm):
            for prefix in self._prefixes(op.name):
                for role in ("weight", "bias"):
                    self.tensors.pop(prefix + role, None)
            return
        for parameter, wanted in ((op.detail.gamma, 1.0), (op.detail.beta, 0.0)):
            if parameter is not None:
                neutral = neutral_value(self.program, parameter.name, wanted)
                if neutral is None or neutral.name not in self._stored:
                    raise InputError(f"the parameters of {op.name!r} are computed by the model's code; {INSTEAD}")
                self._put(neutral.name, neutral.value, op.name)

    def change(self, change: Change) -> None:
        """A layer's new weight or bias, under the name that its module has for it, or else where it was stored."""
        op = self.graph.ops[change.op]
        path = op.name.partition("#")[0]
        module = self._submodule(path)
        if module is not None and op.kind not in ("constant", "scale_shift") and hasattr(module, change.role):
            for prefix in self._prefixes(path):
                for name in parametrization_keys(prefix + change.role, self.tensors):
                    del self.tensors[name]
                self._put(prefix + change.role, change.value, op.name)
        elif change.target in self._stored:
            self._put(change.target, change.value, op.name)
        else:
            raise InputError(f"the {change.role} that {op.name!r} gets has no place in the model's code; {INSTEAD}")

    def _put(self, name: str, value: Tensor, op: str) -> None:
        if name in self._set:
            raise InputError(f"{op!r} runs more than once, and each time with other weights now; {INSTEAD}")
        self._set.add(name)
        self.tensors[name] = value

    def _submodule(self, path: str) -> nn.Module | None:
        return dict(self.module.named_modules(remove_duplicate=False)).get(path)

    def _prefixes(self, path: str) -> list[str]:
        """Of all names that the module at this path has in the state dict."""
        wanted = self._submodule(path)
        every = self.module.named_modules(remove_duplicate=False)
        return [f"{name}." if name else "" for name, module in every if module is wanted]


def _data_nodes(program: ExportedProgram) -> list[Node]:
    """The operations that depend on the inputs, in order."""
    specs = program.graph_signature.input_specs
    fed = {spec.arg.name for spec in specs if spec.kind == InputKind.USER_INPUT}
    data: dict[Node, None] = {}
    for node in program.graph.nodes:
        if node.name in fed or any(each in data for each in node.all_input_nodes):
            data[node] = None
    return [node for node in data if node.op == "call_function" and not node.is_impure()]


def _paths(node: Node) -> Iterator[str]:
    """The modules that a node runs in, without the marks of repeated calls."""
    for path, _ in (node.meta.get("nn_module_stack") or {}).values():
        yield path.partition("@")[0]
