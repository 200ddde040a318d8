"""An example of what a PyTorch model takes, to export it with or to run it on where nobody gave any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from normdiag.data import DataOptions
from normdiag.errors import UsageError
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


def with_made_up_inputs(model: Model) -> Model:
    """A PyTorch model with inputs that it runs on, and a note that says which; an ONNX model says its own.

    Raises UsageError where none is found, or where the model leaves sizes free.
    """
    if model.inputs or model.program is None or model.info.backend != "pytorch":
        return model
    from normdiag.observe.pytorch.usual_inputs import usual_inputs

    declared = model.suggested or declared_inputs_of(model)
    found = usual_inputs(model.program, declared)
    if found is None:
        raise UsageError(_none_found(declared))
    specs, reason = found
    listed = " and ".join(f"{spec.name} {_shown(spec, 'x')}".strip() for spec in specs)
    note = f"no input was given: it ran on made-up ones of {listed}, {reason} (--input-shape gives another)"
    return replace(model, inputs=specs, info=replace(model.info, notes=(*model.info.notes, note)))


def sample_shape(spec: InputSpec) -> tuple[int | None, ...]:
    """The dimensions of one sample."""
    return (spec.shape or ())[1:]


def _none_found(declared: Sequence[InputSpec]) -> str:
    if any(None in sample_shape(spec) for spec in declared):
        shapes = " ".join(f"--input-shape {spec.name}={_shown(spec, ',')}" for spec in declared)
        return f"the model leaves sizes of its input free: give data with --data, or sizes for the ? in {shapes}"
    return (
        "the model runs on none of the usual inputs, and does not say what it takes: give data with --data, or the "
        "shape of one sample with --input-shape 3,224,224"
    )


def _shown(spec: InputSpec, joined: str) -> str:
    """The shape of one sample, as `--input-shape` takes it."""
    sizes = joined.join("?" if size is None else str(size) for size in sample_shape(spec)) or "one number"
    return sizes if spec.dtype == "float32" else f"{sizes}:{spec.dtype}"
