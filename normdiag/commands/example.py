"""An example of what a PyTorch model takes, to export it with or to run it on where nobody gave any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from normdiag.data import DataOptions
from normdiag.data.noise import parse_input_shape, with_shapes
from normdiag.data.usual_sizes import GUESSED, example_option, sample_text, usual_inputs_of
from normdiag.errors import InputError, UsageError
from normdiag.records import Batch, InputSpec, Model

RANDOM = ("random",)


def made_up_example(model: Model, options: DataOptions) -> Batch | None:
    """Two seeded samples of the shapes that the options or the program give; None where neither gives all of them.

    Raises UsageError for shapes that are none, or that do not fit the model.
    """
    if not options.input_shapes:
        specs = declared_inputs_of(model)
        if not specs or any(None in sample_shape(spec) for spec in specs):
            return None
        model = replace(model, inputs=specs)
    few = DataOptions(batch_size=2, max_samples=2, seed=options.seed, input_shapes=options.input_shapes)
    from normdiag.data.source import open_data  # which opens images and more

    return next(iter(open_data(("random",), few, model.inputs)), None)


def declared_inputs_of(model: Model) -> tuple[InputSpec, ...]:
    """What a torch.export program says of its inputs; nothing of any other."""
    from normdiag.models.pytorch.declared import declared_inputs

    return declared_inputs(model.program)


def with_made_up_inputs(model: Model, options: DataOptions | None = None) -> Model:
    """A model with inputs that it runs on, and a note that says which of them were guessed, where any were.

    Raises UsageError where none is found, or where a PyTorch model leaves sizes free.
    """
    shapes = () if options is None else options.input_shapes
    if model.program is None:
        return model
    if model.info.backend == "onnx":
        return _with_free_sizes_guessed(model, shapes)
    if shapes:
        return _without_batch_axis(model, shapes)
    return model if model.inputs else _with_usual_inputs(model)


def _with_usual_inputs(model: Model) -> Model:
    from normdiag.observe.pytorch.usual_inputs import usual_inputs

    declared = model.suggested or declared_inputs_of(model)
    found = usual_inputs(model.program, declared)
    if found is None:
        raise UsageError(_none_found(declared))
    specs, reason = found
    return _noted(replace(model, inputs=specs), _guess_note(specs, reason))


def _with_free_sizes_guessed(model: Model, shapes: Sequence[str]) -> Model:
    """An ONNX model with sizes on which it runs for those that it leaves free."""
    specs = with_shapes(model.inputs, shapes)
    if not any(spec.shape is None or None in sample_shape(spec) for spec in specs):
        return model
    from normdiag.observe.onnx.trial import first_that_runs

    candidates = usual_inputs_of(specs)
    try:
        chosen = candidates[first_that_runs(model.program, candidates, model.info.path or "the model")]
    except InputError as error:
        options = " ".join(example_option(spec) for spec in specs)
        raise UsageError(
            f"the model leaves sizes of its input free, and ran on none of those tried ({error}): give data with "
            f"--data, or the sizes with {options}"
        ) from error
    guessed = [new for new, old in zip(chosen, specs, strict=True) if old.shape is None or None in sample_shape(old)]
    return _noted(replace(model, inputs=chosen), _guess_note(guessed, GUESSED))


def _without_batch_axis(model: Model, shapes: Sequence[str]) -> Model:
    """A PyTorch model that runs on these shapes of one sample only without their first axis is run so."""
    from normdiag.observe.pytorch.usual_inputs import runs

    given = [parse_input_shape(text) for text in shapes]
    less = [replace(spec, shape=(None, *(spec.shape or ())[2:])) for spec in given]
    if model.inputs or any(len(spec.shape or ()) < 3 for spec in given):
        return model
    if runs(model.program, given) or not runs(model.program, less):
        return model
    return replace(model, inputs=tuple(less))


def _guess_note(specs: Sequence[InputSpec], reason: str) -> str:
    listed = " and ".join(f"{spec.name} {_shown(spec, 'x')}".strip() for spec in specs)
    return f"no input was given: it ran on made-up ones of {listed}, {reason} (--input-shape gives another)"


def _noted(model: Model, *notes: str) -> Model:
    return replace(model, info=replace(model.info, notes=(*model.info.notes, *notes)))


def sample_shape(spec: InputSpec) -> tuple[int | None, ...]:
    """The dimensions of one sample."""
    return (spec.shape or ())[1:]


def _none_found(declared: Sequence[InputSpec]) -> str:
    if any(None in sample_shape(spec) for spec in declared):
        shapes = " ".join(example_option(spec) for spec in declared)
        return f"the model leaves sizes of its input free: give data with --data, or sizes, as in {shapes}"
    return (
        "the model runs on none of the usual inputs, and does not say what it takes: give data with --data, or the "
        "shape of one sample with --input-shape 3,224,224"
    )


def _shown(spec: InputSpec, joined: str) -> str:
    """The shape of one sample, as `--input-shape` takes it."""
    return sample_text(spec, ["?" if size is None else size for size in sample_shape(spec)] or ["one number"], joined)
