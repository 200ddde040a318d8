"""A Hugging Face checkpoint that is to become one of the same architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from normdiag.commands.fold_folder import check_apart
from normdiag.commands.fold_inputs import FoldInputs, example_of
from normdiag.data.noise import names_of, spawn, with_shapes
from normdiag.data.preprocess import numpy_dtype
from normdiag.errors import UsageError
from normdiag.extras import require_export
from normdiag.folding.backend import Foldable
from normdiag.folding.options import ExportOptions
from normdiag.models import LoadOptions, load
from normdiag.records import Batch, InputSpec, Model

SAMPLES = 2  # of one sample, an axis of size 1 says little


def open_checkpoint(
    path: Path, target: Path, norms: Sequence[str], inputs: FoldInputs, reading: LoadOptions
) -> Foldable:
    """The checkpoint, none of its weights read. Raises InputError and UsageError as `normdiag.fold` does."""
    if "batch" in norms:
        raise UsageError(
            f"-o {target} is to hold the same architecture, in which a folded BatchNorm would still run: give --norms "
            "layer, or a name that ends in .onnx, .pt2 or .safetensors"
        )
    given = [f"--{name}" for name in ("arch", "trust", "key") if getattr(reading, name)]
    if given:
        raise UsageError(f"{given[0]}: the model of a Hugging Face checkpoint is built from its config.json alone")
    check_apart(path, target)
    require_export("folding a Hugging Face checkpoint needs")
    from normdiag.folding.pytorch.checkpoint import CheckpointFoldable, open_stored

    info = load(path, reading).info
    stored = open_stored(path)
    info = replace(info, backend="pytorch", built=f"built as {type(stored.module).__name__} from config.json, offline")
    if inputs.chosen:
        return CheckpointFoldable(stored, info, example_of(Model(info, ()), inputs), ExportOptions())
    shapes = inputs.options.input_shapes
    example = _example(with_shapes(stored.inputs, shapes), inputs.options.seed)
    # A fixed number of samples takes torch a third of the time.
    return CheckpointFoldable(stored, info, example, ExportOptions() if shapes else ExportOptions(dynamic_axes=()))


def _example(specs: Sequence[InputSpec], seed: int) -> Batch:
    """Two seeded samples."""
    streams = spawn(len(specs), seed)
    arrays = []
    for spec, rng in zip(specs, streams, strict=True):
        dtype, shape = (
            numpy_dtype(spec.dtype) or np.dtype(np.float32),
            tuple(size or SAMPLES for size in spec.shape or ()),
        )
        values = rng.integers(0, spec.below or 2, shape) if dtype.kind in "iu" else rng.standard_normal(shape)
        arrays.append(values.astype(dtype))
    return Batch(tuple(arrays), names_of(specs))
