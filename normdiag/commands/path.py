"""`normdiag.interpolate`: the straight line between the weights of two checkpoints, with statistics that fit or not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from normdiag.commands.ready import with_ready_commands
from normdiag.commands.recalibrate import FEW, FEW_SAMPLES, ONE_BY_ONE
from normdiag.commands.sources import Source, open_source
from normdiag.data import DataOptions, in_random_order
from normdiag.errors import InputError, UsageError
from normdiag.graph import open_model
from normdiag.models import LoadOptions
from normdiag.observe.answers import answers_to, are_scores, compared_output, cross_entropy, labels_fit
from normdiag.observe.passes import fit
from normdiag.observe.protocol import ReplacedStatistics, Runner
from normdiag.recalibration.choose import candidates, changes, new_statistics
from normdiag.recalibration.hold_out import HoldOut
from normdiag.recalibration.measure import measure
from normdiag.recalibration.options import RecalibrateOptions
from normdiag.records import Batch, Model
from normdiag.records.path import PathPoint
from normdiag.results.followed import PathResult
from normdiag.results.notebook import shows_progress

if TYPE_CHECKING:
    from torch import nn

    from normdiag.recalibration.pytorch import TorchTarget

Progress = Callable[[int, "int | None"], None]
NO_LABELS = (
    "has no labels, and without them there is no loss and no accuracy: put them beside the data as an array y in the "
    ".npz, as a folder for each class, or as batches (x, y)"
)


@dataclass(frozen=True)
class _Score:
    """What the model makes of the data: mean cross-entropy, the share of right answers, the number of samples."""

    loss: float
    accuracy: float
    samples: int


@shows_progress("points")
def interpolate(
    start: nn.Module | str | Path,
    end: nn.Module | str | Path,
    batches: Iterable[Any] | None = None,
    *,
    data: Sequence[str] = (),
    data_options: DataOptions | None = None,
    load_options: LoadOptions | None = None,
    steps: int = 11,
    device: str | None = None,
    progress: Progress | None = None,
) -> PathResult:
    """Loss and accuracy along the straight line between the weights of two PyTorch checkpoints of one architecture.

    At each of `steps` points both with the running statistics interpolated like the weights, and with population
    statistics measured on the data for the weights of that point. `batches` and `data` are as for `inspect`, with
    labels. One model is in memory, and the two states. Live modules are left as they are. `progress(done, total)` is
    called after each point.

    Raises InputError for checkpoints that do not match, or data that cannot be used or has no labels, UsageError for
    arguments that contradict each other.

    >>> import normdiag
    >>> files = ["sample_models/digits_mlp_batch_0100.pt", "sample_models/digits_mlp_batch_5000.pt"]
    >>> read = normdiag.LoadOptions(arch="sample_models/net.py:DigitsMLP", arch_args=("norm=batch",))
    >>> line = normdiag.interpolate(*files, data=["sample_models/digits.npz"], load_options=read, steps=3)
    >>> [point.t for point in line.points]
    [0.0, 0.5, 1.0]
    """
    if (batches is None) == (not data):
        raise UsageError("every point between two checkpoints is judged on the same data: give --data, or batches")
    if steps < 2:
        raise UsageError(f"--steps must be at least 2, for both ends, not {steps}")
    first = _opened(start, load_options, data)
    from normdiag.recalibration.pytorch import TorchTarget
    from normdiag.recalibration.pytorch.between import Between, tensors_of

    state, names = tensors_of(first.program), (_name(start, "start"), _name(end, "end"))
    del first  # its weights stay
    model = _opened(end, load_options, data)
    between = Between(model.program, state, names)
    kept = None if batches is None else batches if isinstance(batches, np.ndarray) else list(batches)
    options = in_random_order(data_options or DataOptions(batch_size=64))
    source = open_source(model, kept, data, options)
    points: list[PathPoint] = []
    measured: frozenset[str] = frozenset()
    samples = 0
    for done, t in enumerate(np.linspace(0.0, 1.0, steps).tolist(), 1):
        between.put(t)
        point, samples, layers = _point(t, lambda: TorchTarget(model, device=device), source)
        points.append(point)
        measured |= layers
        if progress is not None:
            progress(done, steps)
    notes = (*source.info.notes, *model.info.notes, *_notes(samples, measured))
    return PathResult(*names, tuple(points), len(measured), source.info.source, samples, tuple(dict.fromkeys(notes)))


def _opened(model: nn.Module | str | Path, reading: LoadOptions | None, data: Sequence[str]) -> Model:
    """In memory, and the caller's own no longer."""
    loaded = open_model(model, reading, run=True)
    if loaded.info.backend != "pytorch":
        raise InputError(f"{loaded.info.path}: --path lies between two PyTorch checkpoints; give the .pt files")
    if loaded.program is None:
        told = with_ready_commands(loaded, "history --path", [word for each in data for word in ("--data", each)])
        raise InputError(f"{loaded.info.path}: {told.why_not_run}")
    if isinstance(model, str | Path):
        return loaded
    try:
        return replace(loaded, program=copy.deepcopy(loaded.program))
    except Exception as error:
        raise InputError(f"the model cannot be copied: {error}") from error


def _name(model: nn.Module | str | Path, otherwise: str) -> str:
    return str(model) if isinstance(model, str | Path) else otherwise


def _point(t: float, opened: Callable[[], TorchTarget], source: Source) -> tuple[PathPoint, int, frozenset[str]]:
    """One point of the line; the number of samples, and the layers whose statistics were measured anew."""
    target = opened()
    found = _score(target.runner, source)
    statistics = _recalibrated(target, source)
    again = found
    if statistics:
        target.put_in_place(statistics)
        again = _score(opened().runner, source)
    point = PathPoint(t, found.loss, found.accuracy, again.loss, again.accuracy)
    return point, found.samples, frozenset(statistics)


def _recalibrated(target: TorchTarget, source: Source) -> dict[str, ReplacedStatistics]:
    """The population statistics of every layer that has running ones, on these weights."""
    if not candidates(target, target.runner.layers()):
        return {}
    measured = measure(target.runner, source, HoldOut(0.0))
    stored = {each.name for each in measured.model_layers if each.has_statistics}
    layers = changes(target, measured, RecalibrateOptions())
    chosen = [each for each in layers if each.kept is None and each.layer in stored]
    if chosen and measured.batch_size < 2:
        raise UsageError(ONE_BY_ONE.partition(":")[0])
    return new_statistics(measured, chosen, keep=0.0)


def _score(runner: Runner, source: Source) -> _Score:
    loss, right, samples = 0.0, 0, 0
    for batch in fit(source, runner):
        scores, labels = _scores(runner, batch, source.info.source)
        loss += float(cross_entropy(scores, labels).sum())
        right += int(np.sum(answers_to(scores) == labels))
        samples += batch.size
    if not samples:
        raise InputError(f"{source.info.source}: holds no samples")
    return _Score(loss / samples, right / samples, samples)


def _scores(runner: Runner, batch: Batch, source: str) -> tuple[Any, Any]:
    """Scores of classes (N, K) in float64, and labels (N,). Raises InputError where either is not there."""
    if batch.labels is None:
        raise InputError(f"{source}: {NO_LABELS}")
    outputs = runner.outputs(batch)
    name = compared_output(outputs)
    if name is None or not are_scores(outputs[name]) or len(outputs[name]) != batch.size:
        shapes = ", ".join(f"{each} {value.shape}" for each, value in outputs.items())
        raise InputError(f"no output holds a row of scores of classes for each sample ({shapes}): no loss is known")
    scores = outputs[name].astype(np.float64)
    if not labels_fit(batch.labels, scores.shape[1]):
        spread = f"{int(batch.labels.min())} to {int(batch.labels.max())}"
        raise InputError(f"{source}: labels are {spread}, and the model tells {scores.shape[1]} classes apart")
    return scores, batch.labels


def _notes(samples: int, measured: frozenset[str]) -> list[str]:
    if not measured:
        return ["no layer has running statistics, so that there is nothing to recalibrate"]
    return [f"{samples} samples: {FEW_SAMPLES.partition(';')[0]}"] if samples < FEW else []
