"""A planted fault: what it does to the model or to its data, what is true of it, and what would repair it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from benchmarks.diagnosis.samples import Samples
from benchmarks.diagnosis.subjects import Subject


@dataclass(frozen=True, eq=False)
class Case:
    """One fault of one strength in one place.

    `causes` are those that may be named, the true one first. `layers` are those that may come first: the faulty ones,
    or the first norm for a wrong input; none where no layer is at fault. `make` builds the faulty module, `fed` and
    `recipe` are the data it gets. `reference` builds the module whose accuracy counts as that before the fault, where
    it isn't the subject's: changed weights with statistics of their own. `pipeline`: an option of `--preprocess`
    undoes it. `serve` is the batch size that the model is served at. `half`: it runs in float16.
    """

    subject: Subject
    kind: str
    strength: str
    place: str
    causes: tuple[str, ...]
    layers: frozenset[str]
    make: Callable[[], nn.Module]
    fed: Samples
    recipe: str | None
    reference: Callable[[], nn.Module] | None = None
    pipeline: bool = False
    serve: int | None = None
    half: bool = False
    repairs: frozenset[str] = field(default_factory=frozenset)

    @property
    def id(self) -> str:
        return f"{self.subject.name} | {self.kind} | {self.strength} | {self.place}"


Edit = Callable[[nn.Module, str], None]


def edited(
    subject: Subject, kind: str, strength: str, causes: tuple[str, ...], place: str, edit: Edit, **options: object
) -> Case:
    """A case in which `edit` changes the norms at `place`: first, middle, last or all."""
    return edited_layers(subject, kind, strength, causes, place, layers_at(subject.norms, place), edit, **options)


def edited_layers(
    subject: Subject,
    kind: str,
    strength: str,
    causes: tuple[str, ...],
    place: str,
    chosen: tuple[str, ...],
    edit: Edit,
    **options: object,
) -> Case:
    """A case in which `edit` changes these norms."""

    def make() -> nn.Module:
        module = subject.copied()
        with torch.no_grad():
            for name in chosen:
                edit(module, name)
        return module

    return on_model(subject, kind, strength, causes, place, frozenset(chosen), make, **options)


def on_model(
    subject: Subject,
    kind: str,
    strength: str,
    causes: tuple[str, ...],
    place: str,
    layers: frozenset[str],
    make: Callable[[], nn.Module],
    **options: object,
) -> Case:
    """A case of a changed model on the right data."""
    return Case(
        subject,
        kind,
        strength,
        place,
        causes,
        layers,
        make,
        subject.test,
        subject.recipe,
        **options,  # type: ignore[arg-type]
    )


def layers_at(names: tuple[str, ...], place: str) -> tuple[str, ...]:
    """The first, the middle or the last of these norms, or all."""
    single = {"first": names[:1], "middle": names[len(names) // 2 :][:1], "last": names[-1:]}
    return single.get(place, names)
