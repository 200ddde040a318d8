"""Which arrays of a file or batch that holds several go to which inputs of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from normdiag.data.feed import LABELS
from normdiag.errors import InputError
from normdiag.wording import abridged

# Names that the one array beside others is known by, where the model does not name its inputs.
_DATA = ("x", "images", "image", "data", "inputs", "input", "features")


def choose(
    label: str,
    arrays: Mapping[str, str],
    wanted: Sequence[str] = (),
    bound: str | None = None,
) -> dict[str, str | None]:
    """Choose from `arrays`, whose values describe them ("(1000, 3, 32, 32) float32"), for the inputs `wanted`.

    Returns array name -> input name, None where the array is fed by position. `bound` is the input that the user asked
    to be filled from here (`--data bound=...`). The order is: arrays by the inputs' names; a sole array; the one array
    beside labels (`y`, `labels`, `targets`...); the one called `x`, `images`, `data`... Raises InputError, which lists
    what is there and what is wanted, where none of these decides.
    """
    if bound:
        only = [bound] if bound in arrays else _single(arrays)
        return {only[0]: bound} if only else _refuse(label, arrays, (bound,))
    if wanted and all(name in arrays for name in wanted):
        return {name: name for name in wanted}
    single = _single(arrays)
    if single and len(wanted) <= 1:
        return {single[0]: wanted[0] if wanted else None}
    return _refuse(label, arrays, wanted)


def choose_inputs(
    label: str,
    arrays: Mapping[str, str],
    wanted: Sequence[str] = (),
) -> dict[str, str | None]:
    """The same for a batch by input name, in which everything but the labels is an input if the model names none."""
    if wanted and not any(name in arrays for name in wanted):
        return _refuse(label, arrays, wanted)
    if wanted or not arrays:
        return choose(label, arrays, wanted)
    inputs = [name for name in arrays if name.lower() not in LABELS] or list(arrays)
    return {name: name for name in inputs}


def _single(arrays: Mapping[str, str]) -> list[str]:
    """The one array that must be meant, as a list of one or none."""
    names = list(arrays)
    unlabelled = [name for name in names if name.lower() not in LABELS]
    known = [name for name in unlabelled if name.lower() in _DATA]
    return next((group for group in (names, unlabelled, known) if len(group) == 1), [])


def _refuse(label: str, arrays: Mapping[str, str], wanted: Sequence[str]) -> dict[str, str | None]:
    listed = [f"{name or 'unnamed'} {facts}" for name, facts in arrays.items()]
    needed = f"wanted: {', '.join(wanted)}" if wanted else "name the one to use 'x'"
    raise InputError(f"{label} holds {abridged(listed, 8) or 'no arrays'}; {needed}")
