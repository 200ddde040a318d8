"""An example of what a PyTorch model takes, to export it with, and what such a model says of its inputs."""

from __future__ import annotations

from dataclasses import replace

from normdiag.data import DataOptions
from normdiag.data.source import open_data
from normdiag.errors import UsageError
from normdiag.records import Batch, InputSpec, Model


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
    return next(iter(open_data(("random",), few, model.inputs)), None)


def declared_inputs_of(model: Model) -> tuple[InputSpec, ...]:
    """What a torch.export program says of its inputs; nothing of any other."""
    from normdiag.models.pytorch.declared import declared_inputs

    return declared_inputs(model.program)


def declared(model: Model) -> tuple[InputSpec, ...]:
    """The same. Raises UsageError where a size is missing, or all are."""
    specs = declared_inputs_of(model)
    if not specs:
        raise UsageError(
            "a PyTorch model does not say what it takes: give data with --data, or the shape of one sample with "
            "--input-shape 3,224,224"
        )
    if any(None in sample_shape(spec) for spec in specs):
        raise UsageError(
            "the model leaves sizes of its input free: give data with --data, or sizes for the question marks in "
            + " ".join(f"--input-shape {spec.name}={_shown(spec)}" for spec in specs)
        )
    return specs


def sample_shape(spec: InputSpec) -> tuple[int | None, ...]:
    """The dimensions of one sample."""
    return (spec.shape or ())[1:]


def _shown(spec: InputSpec) -> str:
    """The shape of one sample as `--input-shape` takes it."""
    sizes = ",".join("?" if size is None else str(size) for size in sample_shape(spec))
    return sizes if spec.dtype == "float32" else f"{sizes}:{spec.dtype}"
