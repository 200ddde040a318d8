"""Whether an ONNX file computes what the program computes that it was exported from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from torch.export import ExportedProgram

from normdiag.errors import InputError
from normdiag.folding.bound import ROUNDOFF
from normdiag.folding.compare import difference
from normdiag.folding.pytorch.running import TorchEvaluator, samples, user_inputs
from normdiag.models.pytorch.arrays import Array
from normdiag.records import Batch, InputSpec

# How far the file may be from float64, in multiples of the program's own error, and at least in units of roundoff:
# onnxruntime sums in another order, which changes the error and not its size.
TIMES = 32.0
ROUNDINGS = 64.0
# Where nothing runs in float64, of the largest output.
UNKNOWN = 1e-3
# Not the size that it was exported with, nor 1.
OTHER_SIZE = 3


def check_onnx(path: Path, program: ExportedProgram, names: Mapping[str, str], example: Batch) -> str | None:
    """Run both on the example, and where the batch size is free with another one. `names` are those of the evaluator's
    outputs by their names in the file.

    Returns a note where onnxruntime cannot run the file. Raises InputError where it is not valid, or where outputs
    differ by more than rounding.
    """
    from normdiag.folding.onnx import OnnxFoldable

    _require_valid(path)
    inputs = user_inputs(program)
    free = all(spec.shape and spec.shape[0] is None for spec in inputs)
    for batch in (example, samples(example, OTHER_SIZE)) if free else (example,):
        try:
            found = OnnxFoldable(path).evaluator().run(_in_order(batch, inputs))
        except InputError as error:
            return f"onnxruntime cannot run the file here, so it is not verified to equal the folded model: {error}"
        expected, exact = TorchEvaluator(program).run(batch), _exact(program, batch)
        for written, name in names.items():
            if name in expected and _differs(found.get(written), expected[name], exact.get(name)):
                raise InputError(
                    f"torch.onnx.export's file gives another {name!r} than the folded model, so nothing was written; "
                    "write .pt2 instead"
                )
    return None


def _require_valid(path: Path) -> None:
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        line = next(iter(str(error).splitlines()), "")
        raise InputError(f"torch.onnx.export's file is not valid ONNX: {line}; write .pt2 instead") from error


def _in_order(batch: Batch, inputs: Sequence[InputSpec]) -> Batch:
    """Without names, which the file may have others of."""
    if batch.names is None or len(batch.arrays) == 1:
        return Batch(batch.arrays)
    arrays = dict(zip(batch.names, batch.arrays, strict=True))
    return Batch(tuple(arrays[spec.name] for spec in inputs))


def _exact(program: ExportedProgram, example: Batch) -> Mapping[str, Array]:
    try:
        return TorchEvaluator(program, double=True).run(example)
    except InputError:
        return {}


def _differs(found: Array | None, expected: Array, exact: Array | None) -> bool:
    if found is None:
        return True
    if exact is None:
        return difference(expected, found).relative > UNKNOWN
    own = difference(exact, np.asarray(expected, np.float64)).relative
    least = ROUNDINGS * ROUNDOFF.get(expected.dtype.name, ROUNDOFF["float32"])
    return difference(exact, np.asarray(found, np.float64)).relative > max(TIMES * own, least)
