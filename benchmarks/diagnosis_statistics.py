"""Faults of the running statistics: stale, scaled, lost, permuted, swapped, foreign, left behind by the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.diagnosis_case import Case
from benchmarks.diagnosis_subjects import Subject, accuracy, averaged_along, recalibrated, trained_on
from sample_models import fit, net

Edit = Callable[[nn.Module, str], None]


def statistics_faults(subject: Subject) -> Iterator[Case]:
    """All of them."""
    yield from edited(subject)
    yield from swapped(subject)
    yield from left_behind(subject)
    if subject.name == "digits_cnn":
        yield from averaged_epochs(subject)


def edited(subject: Subject) -> Iterator[Case]:
    """Each edit in the first, a middle and the last layer and in all of them."""
    for fault, strength, edit in edits(subject):
        for place, layers in places(subject):
            yield planted(subject, fault, strength, place, layers, edit)


def places(subject: Subject) -> Iterator[tuple[str, tuple[str, ...]]]:
    names = subject.batch_norms
    chosen = dict.fromkeys((names[0], names[len(names) // 2], names[-1]))
    yield from ((name, (name,)) for name in chosen)
    yield "all", names


def planted(subject: Subject, fault: str, strength: str, place: str, layers: Sequence[str], edit: Edit) -> Case:
    module = subject.copied()
    with torch.no_grad():
        for layer in layers:
            edit(module.get_submodule(layer), layer)
    return Case(subject, fault, strength, place, frozenset(layers), module)


def edits(subject: Subject) -> Iterator[tuple[str, str, Edit]]:
    for share in (0.25, 0.5, 0.75):
        yield "stale, mixed with 0 and 1", f"{share:g}", partial(mix, share)
    yield "reset to 0 and 1", "", partial(mix, 1.0)
    for fault, role in (("mean scaled", "running_mean"), ("variance scaled", "running_var")):
        for factor in (0.25, 0.5, 2.0, 4.0):
            yield fault, f"x {factor:g}", partial(scale, role, factor)
    yield "zeroed", "", zero
    for share in (0.25, 0.5, 1.0):
        yield "channels permuted", f"{100 * share:g} %", partial(permute, share)
    if subject.foreign is not None:
        for share in (0.25, 0.5, 1.0):
            yield "foreign", f"{100 * share:g} %", partial(take, subject.foreign, share)


def mix(share: float, norm: nn.Module, _: str) -> None:
    """As after too few updates: a share of the initial values is still in them."""
    norm.running_mean.mul_(1 - share)
    norm.running_var.mul_(1 - share).add_(share)


def scale(role: str, factor: float, norm: nn.Module, _: str) -> None:
    getattr(norm, role).mul_(factor)


def zero(norm: nn.Module, _: str) -> None:
    norm.running_mean.zero_()
    norm.running_var.zero_()


def permute(share: float, norm: nn.Module, _: str) -> None:
    """A share of the channels, at least two, moved on by one place among themselves."""
    generator = torch.Generator().manual_seed(0)
    count = max(2, round(share * len(norm.running_mean)))
    chosen = torch.randperm(len(norm.running_mean), generator=generator)[:count]
    for tensor in (norm.running_mean, norm.running_var):
        tensor[chosen] = tensor[chosen.roll(1)]


def take(foreign: Mapping[str, Tensor], share: float, norm: nn.Module, layer: str) -> None:
    """Mixed with those of another training; 100 % are the other's."""
    for role in ("running_mean", "running_var"):
        getattr(norm, role).mul_(1 - share).add_(foreign[f"{layer}.{role}"], alpha=share)


def swapped(subject: Subject) -> Iterator[Case]:
    """The statistics of two neighbours of one width exchanged, for the first and the last such pair."""
    width = {name: len(subject.module.get_submodule(name).running_mean) for name in subject.batch_norms}
    pairs = [(a, b) for a, b in zip(subject.batch_norms, subject.batch_norms[1:], strict=False) if width[a] == width[b]]
    for one, other in dict.fromkeys((*pairs[:1], *pairs[-1:])):
        module = subject.copied()
        first, second = module.get_submodule(one), module.get_submodule(other)
        for role in ("running_mean", "running_var"):
            a, b = getattr(first, role), getattr(second, role)
            kept = a.clone()
            a.copy_(b)
            b.copy_(kept)
        yield Case(subject, "swapped layers", "", f"{one}, {other}", frozenset((one, other)), module)


def left_behind(subject: Subject) -> Iterator[Case]:
    """Trained on with the running statistics frozen; weights averaged over each step, the statistics not."""
    layers = frozenset(subject.batch_norms)
    for lr in (0.05, 0.2, 0.5):
        module = trained_on(subject, 30, lr)
        before = true_accuracy(subject, module)
        strength = f"30 steps at {lr:g}"
        yield Case(subject, "weights trained on, statistics frozen", strength, "all", layers, module, before=before)
    for lr in (0.2, 0.5):
        last, averaged = averaged_along(subject, 30, lr)
        before = true_accuracy(subject, averaged)
        file = {"model": last.state_dict(), "ema": averaged.state_dict()}
        strength = f"30 steps at {lr:g}"
        yield Case(subject, "averaged weights, a step", strength, "all", layers, averaged, before=before, weights=file)


def true_accuracy(subject: Subject, module: nn.Module) -> float:
    """With the statistics that belong to the weights."""
    fitting = recalibrated(module, subject.training.prepared())
    return accuracy(fitting, subject.x, subject.images.labels)


def averaged_epochs(subject: Subject) -> Iterator[Case]:
    """Trained anew: weights averaged over the last epochs, with the statistics of the last."""
    split = (subject.training.prepared(), subject.training.labels)
    for first in (12, 9, 5):
        stale, right = fit.fit_averaged(net.DigitsCNN, split, epochs=15, first=first)
        before = accuracy(right, subject.x, subject.images.labels)
        layers = frozenset(subject.batch_norms)
        yield Case(subject, "averaged weights, an epoch", f"{15 - first} epochs", "all", layers, stale, before=before)
