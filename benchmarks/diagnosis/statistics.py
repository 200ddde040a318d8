"""Faults of the running statistics: never or hardly updated, of few samples, foreign, of another convention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.diagnosis.case import Case, Edit, edited, on_model
from benchmarks.diagnosis.subjects import NORMS, Subject, are_tokens, recalibrated

Make = Callable[[], nn.Module]
STALE, FOREIGN = "stale_statistics", "foreign_statistics"
PLACES = ("first", "middle", "last")


def statistics_faults(subject: Subject) -> Iterator[Case]:
    """All of them."""
    yield from untrained(subject)
    yield from of_few(subject)
    yield from of_others(subject)
    yield from conventions(subject)
    yield from of_other_data(subject)


def untrained(subject: Subject) -> Iterator[Case]:
    for place in (*PLACES, "all"):
        yield edited(subject, "reset to 0 and 1", "", ("never_updated",), place, reset)
    for batches in (10, 20, 35):
        make = partial(warmed_up, subject, batches, 0.1, counted=True)
        yield _all(subject, "too few updates, momentum 0.1", f"{batches} batches", ("not_warmed_up",), make)
    for batches in (50, 150, 300):
        make = partial(warmed_up, subject, batches, 0.01, counted=True)
        yield _all(subject, "too few updates, momentum 0.01", f"{batches} batches", ("not_warmed_up",), make)
    for place, share in zip(PLACES, (0.7, 0.5, 0.7), strict=True):
        edit = partial(_mixed, share)
        yield edited(subject, "one layer mixed with 0 and 1", f"{share:g}", ("not_warmed_up", STALE), place, edit)
    for share in (0.2, 0.4, 0.6):
        edit = partial(_mixed, share)
        yield edited(subject, "all mixed with 0 and 1, no counter", f"{share:g}", ("not_warmed_up",), "all", edit)


def reset(module: nn.Module, name: str) -> None:
    module.get_submodule(name).reset_running_stats()


def _mixed(share: float, module: nn.Module, name: str) -> None:
    norm = module.get_submodule(name)
    norm.running_mean.mul_(1 - share)
    norm.running_var.mul_(1 - share).add_(share)
    norm.num_batches_tracked = None


def _all(subject: Subject, kind: str, strength: str, causes: tuple[str, ...], make: Make) -> Case:
    return on_model(subject, kind, strength, causes, "all", frozenset(subject.norms), make)


@torch.no_grad()
def warmed_up(subject: Subject, batches: int, momentum: float, *, counted: bool, size: int = 64) -> nn.Module:
    """Statistics that began at 0 and 1 and saw this many batches of the finished weights."""
    module, x = subject.copied(), subject.x(subject.training.stored)
    norms = [each for each in module.modules() if isinstance(each, NORMS)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = momentum, True
    generator = torch.Generator().manual_seed(3)
    for _ in range(batches):
        module(x[torch.randint(len(x), (size,), generator=generator)])
    for norm in norms:
        norm.training = False
        if not counted:
            norm.num_batches_tracked = None
    return module


@torch.no_grad()
def continued(subject: Subject, sizes: tuple[int, ...], momentum: float | None) -> nn.Module:
    """Updates at the end of training with batches of these sizes; momentum None averages over them alone."""
    module, x = subject.copied(), subject.x(subject.training.stored)
    norms = [each for each in module.modules() if isinstance(each, NORMS)]
    for norm in norms:
        if momentum is None:
            norm.reset_running_stats()
        norm.momentum, norm.training = momentum, True
    start = 200
    for size in sizes:
        module(x[start : start + size])
        start += size
    for norm in norms:
        norm.training, norm.momentum = False, 0.1
        norm.num_batches_tracked.fill_(5000)
    return module


def of_few(subject: Subject) -> Iterator[Case]:
    flat = any(isinstance(each, nn.BatchNorm1d) for each in subject.module.modules())
    for size in (2, 4, 8):
        make = partial(continued, subject, (size,), None)
        yield _all(subject, "statistics of a few samples", f"{size}", ("few_samples",), make)
    for size in (8, 16, 32):
        make = partial(continued, subject, (64, 64, size), 0.99)
        yield _all(subject, "momentum 0.99 meant for TensorFlow", f"batches of {size}", ("few_samples",), make)
    for momentum in (0.3, 0.5, 0.9):
        make = partial(continued, subject, (2 if flat else 1,), momentum)
        yield _all(subject, "last batch of one", f"momentum {momentum}", ("few_samples", STALE), make)
    for size in (2, 3, 4):
        make = partial(continued, subject, (size,) * 60, 0.1)
        yield _all(subject, "trained in tiny batches", f"{size}", ("few_samples", STALE), make)


def of_others(subject: Subject) -> Iterator[Case]:
    for place in (*PLACES, "all"):
        yield edited(subject, "channels permuted", "100 %", (FOREIGN,), place, partial(permuted, 1.0))
    yield edited(subject, "channels permuted", "40 %", (FOREIGN,), "middle", partial(permuted, 0.4))
    if subject.foreign is not None:
        state = subject.foreign.state_dict()
        for place in (*PLACES, "all"):
            yield edited(subject, "of another seed", "100 %", (FOREIGN,), place, partial(taken, state, 1.0))
        yield edited(subject, "of another seed", "50 %", (FOREIGN, STALE), "all", partial(taken, state, 0.5))
    yield from swapped(subject)


def permuted(share: float, module: nn.Module, name: str) -> None:
    norm = module.get_submodule(name)
    generator = torch.Generator().manual_seed(0)
    count = max(2, round(share * len(norm.running_mean)))
    chosen = torch.randperm(len(norm.running_mean), generator=generator)[:count]
    for tensor in (norm.running_mean, norm.running_var):
        tensor[chosen] = tensor[chosen.roll(1)]


def taken(state: dict[str, Tensor], share: float, module: nn.Module, name: str) -> None:
    norm = module.get_submodule(name)
    for role in ("running_mean", "running_var"):
        getattr(norm, role).mul_(1 - share).add_(state[f"{name}.{role}"], alpha=share)


def swapped(subject: Subject) -> Iterator[Case]:
    """The statistics of two layers of one width exchanged."""
    width = {name: len(subject.module.get_submodule(name).running_mean) for name in subject.norms}
    pairs = [(a, b) for a, b in zip(subject.norms, subject.norms[1:], strict=False) if width[a] == width[b]]
    for one, other in dict.fromkeys((*pairs[:1], *pairs[-1:])):

        def make(one: str = one, other: str = other) -> nn.Module:
            module = subject.copied()
            state = subject.module.state_dict()
            with torch.no_grad():
                for here, there in ((one, other), (other, one)):
                    for role in ("running_mean", "running_var"):
                        getattr(module.get_submodule(here), role).copy_(state[f"{there}.{role}"])
            return module

        layers = frozenset((one, other))
        yield on_model(subject, "statistics of two layers swapped", "", (FOREIGN,), f"{one}, {other}", layers, make)


def conventions(subject: Subject) -> Iterator[Case]:
    rooted: Edit = partial(_changed, "running_var", torch.sqrt)
    for place in ("middle", "last", "all"):
        yield edited(subject, "deviation stored for variance", "", ("wrong_convention",), place, rooted)
    squared: Edit = partial(_changed, "running_var", torch.square)
    yield edited(subject, "variance squared", "", ("wrong_convention",), "all", squared)
    inverse: Edit = partial(_changed, "running_var", lambda var: (var + 1e-5).rsqrt())
    yield edited(subject, "inverse deviation stored", "", ("wrong_convention",), "all", inverse)
    for factor in (0.1, 4.0, 64.0):
        scale: Edit = partial(_changed, "running_var", partial(torch.mul, other=factor))
        yield edited(subject, "variance scaled in all layers", f"x {factor:g}", ("wrong_convention",), "all", scale)
    for place, factor in zip(PLACES, (4.0, 0.1, 16.0), strict=True):
        scale = partial(_changed, "running_var", partial(torch.mul, other=factor))
        causes = ("wrong_convention", FOREIGN, STALE)
        yield edited(subject, "variance scaled in one layer", f"x {factor:g}", causes, place, scale)
    negated: Edit = partial(_changed, "running_mean", torch.neg)
    for place in ("middle", "all"):
        yield edited(subject, "mean with the wrong sign", "", ("wrong_convention", FOREIGN), place, negated)
    lost: Edit = partial(_changed, "running_mean", torch.zeros_like)
    for place in ("middle", "all"):
        yield edited(subject, "mean lost", "", ("never_updated", "not_warmed_up", FOREIGN, STALE), place, lost)
    for eps in (0.03, 0.3, 1.0):
        yield edited(subject, "eps", f"{eps:g}", ("wrong_convention",), "all", partial(_eps, eps))


def _changed(role: str, change: Callable[[Tensor], Tensor], module: nn.Module, name: str) -> None:
    tensor = getattr(module.get_submodule(name), role)
    tensor.copy_(change(tensor))


def _eps(eps: float, module: nn.Module, name: str) -> None:
    module.get_submodule(name).eps = eps


def of_other_data(subject: Subject) -> Iterator[Case]:
    """Statistics recomputed on the wrong data: dark or inverted images, one or two classes, noise."""
    training = subject.training
    sets: list[tuple[str, str, Tensor, tuple[str, ...]]] = []
    for classes in (1, 2):
        chosen = np.isin(training.classes, np.arange(classes))
        shard = subject.x(training.stored[chosen])
        sets.append(("statistics of a skewed shard", f"{classes} classes", shard, (STALE,)))
    x = subject.x(training.stored)
    if training.stored.dtype == np.uint8:
        dark = (training.stored * 0.4).astype(np.uint8)
        ambiguous = (STALE, "input_preparation", "domain_shift")
        sets.append(("statistics of other images", "dark", subject.x(dark), ambiguous))
        sets.append(("statistics of other images", "inverted", subject.x(255 - training.stored), ambiguous))
    elif not are_tokens(training.stored):
        sets.append(("statistics of other data", "half as loud", 0.5 * x, (STALE, "input_preparation", "domain_shift")))
    noise = _noise(x)
    sets.append(("statistics of noise", "", noise, (STALE, FOREIGN)))
    for kind, strength, data, causes in sets:
        yield _all(subject, kind, strength, causes, partial(recalibrated, subject.module, data))
    for share in (0.2, 0.35, 0.5):
        yield edited(subject, "small shifts in all layers", f"{share:g} s", (STALE,), "all", partial(_shifted, share))


def _noise(like: Tensor) -> Tensor:
    """Normal values as widely spread, or any words."""
    generator = torch.Generator().manual_seed(0)
    if like.is_floating_point():
        return torch.randn(like.shape, generator=generator) * like.std()
    return torch.randint(int(like.max()) + 1, like.shape, generator=generator)


def _shifted(size: float, module: nn.Module, name: str) -> None:
    norm = module.get_submodule(name)
    generator = torch.Generator().manual_seed(len(name))
    norm.running_mean.add_(size * norm.running_var.sqrt() * torch.randn(norm.running_mean.shape, generator=generator))
