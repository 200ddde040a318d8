"""From a model to one with statistics that fit the data: open, measure, judge on samples held out, write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normdiag.commands.architecture import as_data_fits
from normdiag.commands.feeding import with_feeding
from normdiag.commands.ready import with_ready_commands
from normdiag.commands.sources import GivenBatches, Source, open_source
from normdiag.data import DataOptions, in_random_order
from normdiag.diagnosis.folded import BEFORE, CHECKPOINT, folded_away
from normdiag.errors import InputError, UsageError
from normdiag.graph import open_model
from normdiag.metrics.population import samples_needed
from normdiag.models import LoadOptions
from normdiag.ranks import ALONE, Ranks, started, together
from normdiag.recalibration.choose import candidates, changes, new_statistics, pooled, share_kept
from normdiag.recalibration.decide import drifts, outcome
from normdiag.recalibration.effect import HeldOut, effect_of, run_held_out
from normdiag.recalibration.hold_out import HoldOut
from normdiag.recalibration.measure import Measured, measure
from normdiag.recalibration.options import RecalibrateOptions
from normdiag.recalibration.sequential import settle
from normdiag.recalibration.target import Recalibratable
from normdiag.records import Batch, Model, Report
from normdiag.records.recalibration import LayerChange, RecalibrationReport
from normdiag.results.notebook import shows_progress
from normdiag.results.recalibrated import RecalibrationResult
from normdiag.wording import abridged
from normdiag.writing.atomic import check_place

if TYPE_CHECKING:
    from torch import nn

# Samples seen, their total if it is known, and the error of the layer that is least known so far.
Progress = Callable[[int, "int | None", float], None]
NOTHING_STORED = "no layer with running statistics was found or ran, so there is nothing to recalibrate"
ONE_BY_ONE = (
    "the samples run one at a time, and statistics of one are no batch statistics for the layers after: use "
    "--method sequential, or batches of 16 and more if the model takes them"
)
# With fewer samples than this a healthy net can lose.
FEW = 256
FEW_SAMPLES = (
    "with few samples a healthy net can lose: a ResNet32 with all answers right fell to 96.5% with 16 images, 96.3% "
    "with 64 and 98.0% with 256, and a small MLP from 97% to 88% with 16; --pseudo-count keeps a share of the stored"
)


@shows_progress("samples")
def recalibrate(
    model: nn.Module | str | Path,
    batches: Iterable[Any] | None = None,
    *,
    output: str | Path | None = None,
    in_place: bool = False,
    data: Sequence[str] = (),
    eval_batches: Iterable[Any] | None = None,
    eval_data: Sequence[str] = (),
    data_options: DataOptions | None = None,
    load_options: LoadOptions | None = None,
    options: RecalibrateOptions | None = None,
    device: str | None = None,
    distributed: bool = False,
    progress: Progress | None = None,
) -> RecalibrationResult:
    """Measure the running statistics of a model anew, and put them where the old ones were, if that makes it better.

    `model` is a live torch.nn.Module or the path of a model file; `batches` and `data` as for `inspect`. The file is
    written to `output` in its own format with every other byte as it was; a live module is changed with `in_place`, and
    otherwise left as it is. The result is judged on the share `options.holdout` of the samples, or on `eval_batches`
    or `eval_data`; labels beside the data make that the accuracy. Where it is worse, nothing is written or changed
    unless `options.accept_worse` (`result.report.outcome`). `distributed` works together with the other processes that
    torchrun has started, which must all call it: each measures its share of `data`, or the `batches` that it is given,
    all get the same result, and the first one writes.

    Raises InputError for a model or data that cannot be used, UsageError for arguments that contradict each other.

    >>> import torch, normdiag
    >>> from sample_models.net import DigitsCNN
    >>> net = DigitsCNN()
    >>> weights = net.load_state_dict(torch.load("sample_models/digits_cnn_averaged.pt"))
    >>> result = normdiag.recalibrate(net, data=["sample_models/digits_train.npz"], in_place=True)
    >>> before, after = result.report.effect.accuracy
    >>> before < after
    True
    """
    options = options or RecalibrateOptions()
    options = options if output is None else replace(options, output=Path(output))
    _check_arguments(model, batches, data, eval_batches, eval_data, in_place, options)
    loaded = open_model(model, load_options, run=True)
    feeding = in_random_order(data_options or DataOptions(batch_size=64))
    if not distributed:  # where each process has data of its own
        loaded = as_data_fits(loaded, load_options, batches, data, feeding, device)
    words = [word for each in data for word in ("--data", each)]
    words += ["-o", str(options.output)] if options.output is not None else []
    loaded = with_ready_commands(loaded, "recalibrate", words)
    loaded = with_feeding(loaded, feeding, data, code=batches is not None)
    target = open_target(loaded, load_options, device)
    ranks = started() if distributed else ALONE
    feeding = replace(feeding, shard=(ranks.rank, ranks.size))
    source = open_source(loaded, batches, data, feeding)
    judged = None
    if eval_batches is not None or eval_data:
        judged = open_source(loaded, eval_batches, eval_data, feeding)
    result = _recalibrated(target, source, judged, options, ranks, progress)
    if options.dry_run or (result.report.outcome == "worse" and not options.accept_worse):
        return result
    if in_place:
        result.target.put_in_place(result.statistics)  # type: ignore[attr-defined]
    return result if options.output is None else _written(result, options.output, ranks)


def _check_arguments(
    model: Any, batches: Any, data: Any, eval_batches: Any, eval_data: Any, in_place: bool, options: RecalibrateOptions
) -> None:
    live = not isinstance(model, str | Path)
    if live and not callable(getattr(model, "named_modules", None)):
        raise UsageError(f"a model is a path or a torch.nn.Module, not {type(model).__name__}: {model!r:.80}")
    for one, two, names in ((batches, data, "batches or data"), (eval_batches, eval_data, "eval_batches or eval_data")):
        if one is not None and two:
            raise UsageError(f"give either {names}, not both")
    if batches is None and not data:
        raise UsageError("recalibrate measures statistics on data: give it with --data")
    if in_place and not live:
        raise UsageError("in_place is for a live module; the statistics of a file go to `output`")
    if options.output is not None:
        if live:
            raise UsageError("a live module has no file to be written back; save it with torch.save")
        _check_output(Path(model), options)


def _check_output(path: Path, options: RecalibrateOptions) -> None:
    """Before any work. Raises UsageError for a name of another format or that exists, InputError for a bad folder."""
    output = options.output
    assert output is not None
    own = path.suffix.lower()
    kinds = {".onnx", ".safetensors", ".pt2"}
    if output.suffix.lower() != own and kinds & {own, output.suffix.lower()}:
        raise UsageError(f"-o {output}: the same kind of file is written as {path.name} is; end the name with {own}")
    check_place(output, "-o")
    if output.exists() and not options.force:
        raise UsageError(f"-o {output} exists; --force replaces it")


def open_target(model: Model, reading: LoadOptions | None, device: str | None) -> Recalibratable:
    """The model in the backend that runs and writes it.

    Raises InputError for weights whose code is not known, and for an ONNX model without any running statistics.
    """
    if model.program is None:
        raise InputError(f"{model.info.path}: {model.why_not_run}")
    if model.info.backend == "onnx":
        from normdiag.recalibration.onnx import OnnxTarget

        if device not in (None, "cpu"):
            raise UsageError(f"--device {device}: ONNX models run on the CPU here")
        target = OnnxTarget(model)
        if not candidates(target, model.layers):
            raise InputError(f"{model.info.path}: nothing to recalibrate: {_nothing_stored(model)}")
        return target
    from normdiag.recalibration.pytorch import TorchTarget
    from normdiag.writing.weight_files import open_weights

    path = model.info.path
    weights = None if path is None else open_weights(Path(path), (reading or LoadOptions()).key)
    return TorchTarget(model, weights, device)


def _nothing_stored(model: Model) -> str:
    """Why there are no statistics, and the way back to some where an exporter took them."""
    if model.layers and not model.folded:
        return f"none of its {len(model.layers)} normalization layers has running statistics"
    told, back = folded_away(Report(model.info, None, (), folded=model.folded))
    return f"{told}; {(back or BEFORE).replace(CHECKPOINT, 'or recalibrate the checkpoint and export that')}"


def _recalibrated(
    target: Recalibratable,
    source: Source,
    judged: Source | None,
    options: RecalibrateOptions,
    ranks: Ranks,
    progress: Progress | None,
) -> RecalibrationResult:
    total = source.info.total
    told = None if progress is None else lambda samples, error: progress(samples, total, error)
    hold = HoldOut(0.0 if judged is not None else options.holdout)
    enough = options.tolerance if ranks.size == 1 else None  # of several, none knows what the others have
    first = partial(measure, target.runner, source, hold, tolerance=enough, progress=told)
    measured = pooled(target, together(ranks, first, add))
    if not measured.sums:
        where = f"{target.info.path or 'the model'}: {NOTHING_STORED}"
        raise InputError(where if measured.samples else f"{source.info.source}: holds no samples to measure with")
    layers = changes(target, measured, options)
    if not any(options.chooses(each.layer) for each in layers):
        raise UsageError(f"--layers {' '.join(options.layers)}: no layer with running statistics is called so")
    keep, passes = share_kept(options, measured.samples), 1
    if options.method == "precise" and measured.batch_size < 2:
        raise UsageError(ONE_BY_ONE)
    if options.method == "sequential":
        _check_again(source)
        chosen = [each for each in layers if each.kept is None]
        new = partial(new_statistics, chosen=chosen, keep=keep)
        measured, passes = settle(target, source, hold.share, measured, new, ranks, told)
        layers = changes(target, measured, options)
    chosen = [each for each in layers if each.kept is None]
    statistics = new_statistics(measured, chosen, keep)
    held = hold.kept if judged is None else _all(judged)
    shown = HeldOut()
    if statistics and (options.holdout or judged is not None):
        shown = together(ranks, lambda: run_held_out(target.runner, target.changed(statistics), held), add)
    effect = effect_of(shown, measured.model_layers, statistics)
    converts = any(target.converts(layer) for layer in measured.model_layers if layer.name in statistics)
    decided = outcome(layers, effect, converts=converts)
    worst = max((each.error for each in chosen), default=0.0)
    report = RecalibrationReport(
        model=target.info,
        source=source.info.source,
        outcome=decided,
        method=options.method,
        layers=layers,
        samples=measured.samples,
        held_out=shown.samples,
        batch_size=measured.batch_size,
        keep=keep,
        passes=passes,
        effect=effect,
        tolerance=options.tolerance,
        needed=_needed(worst, measured.samples, options.tolerance),
        dry_run=options.dry_run,
        notes=(*source.info.notes, *_notes(target, measured, layers)),
    )
    changes_it = decided == "recalibrated" or (decided == "worse" and options.accept_worse)
    return RecalibrationResult(report, statistics if changes_it else {}, target)


def _notes(target: Recalibratable, measured: Measured, layers: Sequence[LayerChange]) -> Iterator[str]:
    """What the user should know beside the figures."""
    if measured.samples < FEW:
        yield f"{measured.samples} samples: {FEW_SAMPLES}"
    if target.runner.fixed_batch is not None:
        yield f"samples that the model runs at a time, and no others: {target.runner.fixed_batch}"
    stored = {layer.name: layer for layer in measured.model_layers}
    converted = [each for each in layers if each.kept is None and target.converts(stored[each.layer])]
    for names, what in (
        ([each.layer for each in converted if drifts(each)], "the measured statistics"),
        ([each.layer for each in converted if not drifts(each)], "the stored statistics, which are right on this data"),
    ):
        if names:
            yield f"put into evaluation mode with {what}: {abridged(names)}"


def _check_again(source: Source) -> None:
    """Raise UsageError for data that can be read once only."""
    if isinstance(source, GivenBatches) and iter(source.batches) is source.batches:
        raise UsageError("sequential goes over the data several times; pass a list or a DataLoader, not a generator")


def _all(source: Source) -> list[Batch]:
    hold = HoldOut(1.0)
    for batch in source:
        hold.take(batch)
    return hold.kept


def _needed(error: float, samples: int, tolerance: float | None) -> int | None:
    if tolerance is None or not tolerance < error < float("inf"):
        return None
    return samples_needed(error, samples, tolerance)


def _written(result: RecalibrationResult, output: Path, ranks: Ranks) -> RecalibrationResult:
    """By the first process; the others wait for it."""
    notes = together(ranks, lambda: () if ranks.rank else result.target.write(result.statistics, output), add)
    report = replace(result.report, written=str(output), notes=(*result.report.notes, *notes))
    return replace(result, report=report)
