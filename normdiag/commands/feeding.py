"""How the inputs of an ONNX model are fed, from what the user says and what the model declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from normdiag.data import DataOptions
from normdiag.data.specs import Spec, parse_spec
from normdiag.errors import UsageError
from normdiag.records import Batch, Feeding, Model
from normdiag.wording import abridged

T = TypeVar("T")


def with_feeding(model: Model, options: DataOptions, data: Sequence[str], *, code: bool = False) -> Model:
    """The model with inputs for the data alone, and notes on the others.

    Inputs that `data` names are no states. With `code` batches come from Python, which may hold what has no samples.
    Raises UsageError for options that do not fit the model.
    """
    given = {"--input-axis": options.input_axes, "--const": options.constants, "--state": options.states}
    if model.info.backend != "onnx" or model.program is None:
        used = next((name for name, value in given.items() if value), None)
        if used is not None:
            raise UsageError(f"{used} is for ONNX models: a PyTorch model gets numbers and states in a dict from code")
        return model
    from normdiag.models.onnx.feeding import feeding_of

    specs = [parse_spec(text, [spec.name for spec in model.inputs]) for text in data]
    feeding, inputs = feeding_of(
        model.inputs,
        model.program.outputs,
        _pairs("--input-axis", options.input_axes, int),
        _pairs("--const", options.constants, float),
        _pairs("--state", options.states, str),
        [name for spec in specs for name in _named(spec)],
        code=code or any(spec.kind == "code" for spec in specs),
    )
    info = replace(model.info, notes=(*model.info.notes, *_notes(feeding)))
    return replace(model, info=info, inputs=inputs, program=replace(model.program, feeding=feeding))


def as_graph_inputs(model: Model, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of a model that `with_feeding` returned, with every input of its graph by name as the graph takes it.

    That is what runs of the graph alone are fed with. Raises InputError for batches that do not fit.
    """
    from normdiag.observe.onnx.feed import graph_inputs, make_feed

    where, feeding = model.info.path or "the model", model.program.feeding
    inputs = graph_inputs(model.program.proto, where)
    for batch in batches:
        feed = make_feed(inputs, batch, where, feeding)
        fixed = {name: feed.pop(name) for name in (*feeding.constants, *feeding.whole) if name in feed}
        yield replace(batch, arrays=tuple(feed.values()), names=tuple(feed), fixed=fixed)


def _named(spec: Spec) -> tuple[str, ...]:
    """The inputs that a data specification gives by name: its own, or those of the arrays in an .npz."""
    if spec.name is not None:
        return (spec.name,)
    if spec.kind != "path" or not spec.target.endswith(".npz") or not Path(spec.target).is_file():
        return ()
    from normdiag.data.arrays import npz_tables

    return tuple(npz_tables(Path(spec.target)))


def _pairs(option: str, texts: Sequence[str], kind: Callable[[str], T]) -> Mapping[str, T]:
    """'NAME=VALUE' taken apart; names of ONNX may hold anything but the last '='."""
    found: dict[str, T] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        try:
            if not equals or not name or not value:
                raise ValueError
            found[name] = kind(value)
        except ValueError:
            raise UsageError(f"{option} {text}: give it as NAME={'VALUE' if kind is not int else '1'}") from None
    return found


def _notes(feeding: Feeding) -> list[str]:
    notes = []
    fed_back = feeding.fed_back
    alone = [state.name for state in feeding.states if state.output is None]
    if fed_back:
        pairs = abridged([f"{state.output} to {state.name}" for state in fed_back])
        notes.append(f"read in order, chunk after chunk: states begin at zero and are fed back ({pairs})")
    if alone:
        notes.append(
            f"zeros for every sample: {abridged(alone)}; no output gives what is called a state "
            f"(--state OUTPUT={alone[0]})"
        )
    if feeding.constants:
        values = [f"{name}={value.reshape(-1)[0]:g}" for name, value in feeding.constants.items()]
        notes.append(f"the same for every sample: {abridged(values)}")
    return notes
