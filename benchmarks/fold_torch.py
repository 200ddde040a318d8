"""Tools that take a PyTorch module: norms left and error on the nets, after each."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.nets import NETS, calibrated

MODELS = ("resnet50", "mobilenet_v2", "densenet121")
Fold = Callable[[nn.Module, torch.Tensor], nn.Module]


def with_normdiag(net: nn.Module, x: torch.Tensor) -> nn.Module:
    import normdiag

    folded: nn.Module = normdiag.fold(net, [x], verify=False).model
    return folded


def with_fx(net: nn.Module, _: torch.Tensor) -> nn.Module:
    from torch.fx.experimental.optimization import fuse

    return fuse(net)


def with_fusion_utils(net: nn.Module, _: torch.Tensor) -> nn.Module:
    """torch.nn.utils.fusion folds the pairs that it is told; a user tells it all that there are."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    net = copy.deepcopy(net)
    for before, after in list(_neighbours(net)):
        conv, norm = net.get_submodule(before), net.get_submodule(after)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            _put(net, before, fuse_conv_bn_eval(conv, norm))
            _put(net, after, nn.Identity())
    return net


TOOLS: Mapping[str, Fold] = {
    "normdiag": with_normdiag,
    "torch.fx fuse": with_fx,
    "torch.nn.utils.fusion": with_fusion_utils,
}


def table() -> str:
    """A markdown table: norms left and max|difference| over max|original|."""
    rows = [f"| model | norms | {' | '.join(TOOLS)} |", f"|---|---|{'---|' * len(TOOLS)}"]
    for name in MODELS:
        torch.manual_seed(0)
        net = calibrated(NETS[name]()).eval()
        x = torch.randn(2, 3, 224, 224)
        cells = [outcome(fold, net, x) for fold in TOOLS.values()]
        rows.append(f"| {name} | {norms(net)} | {' | '.join(cells)} |")
    return "\n".join(rows)


@torch.no_grad()
def outcome(fold: Fold, net: nn.Module, x: torch.Tensor) -> str:
    """'0 left, 3e-07'."""
    expected = net(x)
    folded = fold(net, x)
    error = float((folded(x) - expected).abs().max() / expected.abs().max())
    return f"{norms(folded)} left, {error:.0e}"


def norms(net: nn.Module) -> int:
    """BatchNorm modules, or calls in a graph."""
    if isinstance(net, torch.fx.GraphModule):
        modules = dict(net.named_modules())
        return sum(_is_norm(node, modules) for node in net.graph.nodes)
    return sum(isinstance(module, _BatchNorm) for module in net.modules())


def _is_norm(node: torch.fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], _BatchNorm)
    return node.op == "call_function" and "batch_norm" in str(node.target)


def _neighbours(net: nn.Module) -> Iterator[tuple[str, str]]:
    """Modules of which the second reads the output of the first, and nobody else does."""
    for node in torch.fx.symbolic_trace(net).graph.nodes:
        source = node.args[0] if node.op == "call_module" and node.args else None
        if isinstance(source, torch.fx.Node) and source.op == "call_module" and len(source.users) == 1:
            yield str(source.target), str(node.target)


def _put(net: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(net.get_submodule(parent), name, module)
