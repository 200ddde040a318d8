"""Faults of weights and of gamma and beta, and weights that changed while the statistics did not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.case import Case, Edit, edited, edited_layers, layers_at, on_model
from benchmarks.diagnosis.statistics import FOREIGN, PLACES, STALE
from benchmarks.diagnosis.subjects import Subject, cached, recalibrated, train

LINEAR = (nn.Conv1d, nn.Conv2d, nn.Linear)


def weight_faults(subject: Subject) -> Iterator[Case]:
    """All of them."""
    yield from affine(subject)
    yield from of_another_checkpoint(subject)
    yield from left_behind(subject)
    yield from broken(subject)
    yield from saturated(subject)


def affine(subject: Subject) -> Iterator[Case]:
    for place in (*PLACES, "all"):
        yield _of_affine(subject, "gamma and beta swapped", "", place, _exchanged)
    for place in ("middle", "last"):
        yield _of_affine(subject, "gamma and beta permuted", "", place, _permuted)
    for place in ("last", "all"):
        yield _of_affine(subject, "gamma stored less one", "", place, partial(_added, "weight", -1.0))
    for place in ("middle", "all"):
        yield _of_affine(subject, "beta lost", "", place, partial(_scaled, "bias", 0.0))
        yield _of_affine(subject, "beta with the wrong sign", "", place, partial(_scaled, "bias", -1.0))
    for place, factor in (("middle", 4.0), ("last", 8.0)):
        yield _of_affine(subject, "gamma scaled", f"x {factor:g}", place, partial(_scaled, "weight", factor))
    if subject.foreign is not None:
        for place in ("middle", "all"):
            edit = partial(_foreign, subject.foreign)
            yield _of_affine(subject, "gamma and beta of another seed", "", place, edit)


def _of_affine(
    subject: Subject, kind: str, strength: str, place: str, edit: Edit, causes: tuple[str, ...] = ("wrong_affine",)
) -> Case:
    """A case of the norms at `place` among those that have a gamma and a beta."""
    names = tuple(name for name in subject.norms if subject.module.get_submodule(name).affine)
    return edited_layers(subject, kind, strength, causes, place, layers_at(names, place), edit)


def saturated(subject: Subject) -> Iterator[Case]:
    """Gamma and beta that drive the values into the flat tails of the sigmoid or tanh that comes next."""
    order = executed(subject)
    pairs = [(a, b) for a, b in pairwise(order) if isinstance(subject.module.get_submodule(b), (nn.Sigmoid, nn.Tanh))]
    names = tuple(name for name, _ in pairs if name in subject.norms)
    causes = ("saturation", "wrong_affine")
    edits = {"+ 4": partial(_added, "bias", 4.0), "+ 8": partial(_added, "bias", 8.0)}
    edits["x 10"] = partial(_scaled, "weight", 10.0)
    for strength, edit in edits.items() if names else ():
        for place in ("first", "all"):
            chosen = layers_at(names, place)
            yield edited_layers(subject, "pushed into flat tails", strength, causes, place, chosen, edit)


def _exchanged(module: nn.Module, name: str) -> None:
    norm = module.get_submodule(name)
    kept = norm.weight.clone()
    norm.weight.copy_(norm.bias)
    norm.bias.copy_(kept)


def _permuted(module: nn.Module, name: str) -> None:
    norm = module.get_submodule(name)
    order = torch.randperm(len(norm.weight), generator=torch.Generator().manual_seed(0))
    norm.weight.copy_(norm.weight[order].clone())
    norm.bias.copy_(norm.bias[order].clone())


def _added(role: str, value: float, module: nn.Module, name: str) -> None:
    getattr(module.get_submodule(name), role).add_(value)


def _scaled(role: str, factor: float, module: nn.Module, name: str) -> None:
    getattr(module.get_submodule(name), role).mul_(factor)


def _foreign(foreign: nn.Module, module: nn.Module, name: str) -> None:
    for role in ("weight", "bias"):
        getattr(module.get_submodule(name), role).copy_(getattr(foreign.get_submodule(name), role))


def of_another_checkpoint(subject: Subject) -> Iterator[Case]:
    """Linear layers before a norm that are not the ones of its training."""
    own = fed_alone(subject)
    for place in PLACES:
        edit, chosen = partial(_random, subject), layers_at(own, place)
        yield edited_layers(subject, "weights of the layer before lost", "", (FOREIGN, STALE), place, chosen, edit)
    fed_by = [feeding(subject.module, subject, name) for name in subject.norms]
    if any(getattr(each, "bias", None) is not None for each in fed_by):
        yield edited(subject, "bias of the layer before lost", "", (STALE, FOREIGN), "all", partial(_unbiased, subject))
    for place in ("middle", "last"):
        edit, chosen = partial(_folded_twice, subject), layers_at(own, place)
        yield edited_layers(subject, "norm folded and kept as well", "", (STALE, FOREIGN), place, chosen, edit)


def feeding(module: nn.Module, subject: Subject, name: str) -> nn.Module | None:
    """The linear layer that runs last before a norm."""
    order = executed(subject)
    before = [path for path in order[: order.index(name)] if isinstance(module.get_submodule(path), LINEAR)]
    return module.get_submodule(before[-1]) if before else None


def fed_alone(subject: Subject) -> tuple[str, ...]:
    """The norms that are the first after a linear layer; one after it gets what the first makes of that layer."""
    seen: list[nn.Module | None] = []
    chosen = []
    for name in subject.norms:
        layer = feeding(subject.module, subject, name)
        if layer is None or not any(layer is each for each in seen):
            chosen.append(name)
        seen.append(layer)
    return tuple(chosen)


def executed(subject: Subject) -> list[str]:
    """Paths of the modules without children, in the order in which they run."""
    order: list[str] = []
    hooks = [
        each.register_forward_hook(lambda *_, path=path: order.append(path))
        for path, each in subject.module.named_modules()
        if not list(each.children())
    ]
    with torch.no_grad():
        subject.module(subject.x(subject.test.stored[:2]))
    for hook in hooks:
        hook.remove()
    return order


def _random(subject: Subject, module: nn.Module, name: str) -> None:
    layer = feeding(module, subject, name)
    if layer is not None:
        torch.manual_seed(5)
        layer.reset_parameters()


def _unbiased(subject: Subject, module: nn.Module, name: str) -> None:
    layer = feeding(module, subject, name)
    if layer is not None and layer.bias is not None:
        layer.bias.zero_()


def _folded_twice(subject: Subject, module: nn.Module, name: str) -> None:
    layer, norm = feeding(module, subject, name), module.get_submodule(name)
    if layer is None or len(layer.weight) != len(norm.weight):
        return
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))


def left_behind(subject: Subject) -> Iterator[Case]:
    """Weights pruned, rounded, averaged, mixed or trained on, with the statistics of before."""
    for share in (0.3, 0.5, 0.7):
        yield _changed(subject, "weights pruned", f"{100 * share:g} %", partial(_pruned, share))
    for bits in (5, 4, 3):
        yield _changed(subject, "weights rounded", f"{bits} bits", partial(_rounded, bits))
    for lr in (0.002, 0.01, 0.03):
        yield _changed(subject, "trained on, statistics not saved", f"40 steps at {lr:g}", partial(_trained_on, lr))
    for lr in (0.01, 0.02, 0.05):
        yield _changed(subject, "weights averaged", f"60 steps at {lr:g}", partial(_averaged, lr))
    for lr in (0.01, 0.02, 0.04):
        yield _changed(subject, "two models mixed", f"40 steps at {lr:g}", partial(_souped, lr))


def _changed(subject: Subject, kind: str, strength: str, change: Callable[[Subject], nn.Module]) -> Case:
    def fit(module: nn.Module) -> None:
        module.load_state_dict(change(subject).state_dict())

    def make() -> nn.Module:
        return cached(f"changed/{subject.name} {kind} {strength}", subject.copied, fit)

    def reference() -> nn.Module:
        return recalibrated(make(), subject.x(subject.training.stored))

    return on_model(subject, kind, strength, (STALE,), "all", frozenset(subject.norms), make, reference=reference)


@torch.no_grad()
def _pruned(share: float, subject: Subject) -> nn.Module:
    """The smallest weights of each linear layer but the last set to zero."""
    module = subject.copied()
    layers = [each for each in module.modules() if isinstance(each, LINEAR)]
    for layer in layers[:-1]:
        flat = layer.weight.abs().flatten()
        layer.weight.mul_(layer.weight.abs() > flat.kthvalue(max(1, round(share * len(flat)))).values)
    return module


@torch.no_grad()
def _rounded(bits: int, subject: Subject) -> nn.Module:
    """Each weight tensor on a grid of one scale."""
    module = subject.copied()
    for layer in module.modules():
        if isinstance(layer, LINEAR):
            step = layer.weight.abs().max() / (2 ** (bits - 1) - 1)
            layer.weight.copy_((layer.weight / step).round() * step)
    return module


def _running(module: nn.Module) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in module.named_buffers()}


def _trained(subject: Subject, lr: float, steps: int, seed: int) -> Iterator[nn.Module]:
    module = subject.copied().train()
    x = subject.x(subject.training.stored)
    for _ in train(module, x, subject.training.labels, steps=steps, lr=lr, seed=seed):
        yield module


def _trained_on(lr: float, subject: Subject) -> nn.Module:
    before = _running(subject.module)
    *_, module = _trained(subject, lr, 40, 7)
    module.load_state_dict(before, strict=False)
    return module.eval()


def _averaged(lr: float, subject: Subject) -> nn.Module:
    states = [copy.deepcopy(each.state_dict()) for each in _trained(subject, lr, 60, 7)]
    return _mean(subject, states[4::5], states[-1])


def _souped(lr: float, subject: Subject) -> nn.Module:
    states = []
    for seed in (7, 8):
        *_, module = _trained(subject, lr, 40, seed)
        states.append(copy.deepcopy(module.state_dict()))
    return _mean(subject, states, states[0])


def _mean(subject: Subject, states: list[dict[str, Tensor]], buffers: dict[str, Tensor]) -> nn.Module:
    """The weights averaged, the statistics of one."""
    module = subject.copied()
    running = _running(subject.module)
    module.load_state_dict(
        {name: buffers[name] if name in running else torch.stack([s[name] for s in states]).mean(0) for name in buffers}
    )
    return module.eval()


def broken(subject: Subject) -> Iterator[Case]:
    for role in ("weight", "running_mean", "running_var"):
        yield _of_affine(subject, "NaN in one value", role, "middle", partial(_set, role, torch.nan), ("non_finite",))
    yield edited(subject, "negative variance", "", ("non_finite",), "middle", partial(_set, "running_var", -1.0))
    yield edited(subject, "infinite variance", "", ("non_finite",), "last", partial(_set, "running_var", torch.inf))
    for place, share in (("middle", 0.5), ("last", 0.7), ("first", 0.7)):
        edit = partial(_dead, share)
        yield _of_affine(subject, "gamma and beta zero", f"{100 * share:g} %", place, edit, ("dead_channels",))


def _set(role: str, value: float, module: nn.Module, name: str) -> None:
    getattr(module.get_submodule(name), role)[0] = value


def _dead(share: float, module: nn.Module, name: str) -> None:
    norm = module.get_submodule(name)
    order = torch.randperm(len(norm.weight), generator=torch.Generator().manual_seed(0))
    off = order[: round(share * len(norm.weight))]
    norm.weight[off] = 0.0
    norm.bias[off] = 0.0
