"""`normdiag.inspect`: load, run or not, findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normdiag.commands.example import RANDOM, made_up_example, with_made_up_inputs
from normdiag.commands.judge import Deployment, judged
from normdiag.commands.ready import with_ready_commands
from normdiag.data import AUTO, DataOptions, in_random_order
from normdiag.data.specs import as_specs
from normdiag.errors import UsageError
from normdiag.graph import open_model
from normdiag.models import LoadOptions, streaming_where_needed
from normdiag.ops import SATURATION_THRESHOLD
from normdiag.ranks import ALONE, Ranks, started
from normdiag.records import Batch, LayerMetrics, Model, Profile, Report, Target
from normdiag.results.inspection import Inspection
from normdiag.results.notebook import shows_progress
from normdiag.results.shown import result_of
from normdiag.rules import RULES, Rule
from normdiag.wording import abridged

if TYPE_CHECKING:
    from torch import nn

    from normdiag.commands.reference import Reference
    from normdiag.commands.sources import Remembering

Progress = Callable[[int, "int | None"], None]


@shows_progress("samples")
def inspect(
    model: nn.Module | str | Path,
    batches: Iterable[Any] | None = None,
    *,
    data: Sequence[str] = (),
    train_batches: Iterable[Any] | None = None,
    train_data: Sequence[str] = (),
    data_options: DataOptions | None = None,
    load_options: LoadOptions | None = None,
    device: str | None = None,
    attribute: bool = False,
    threshold: float = SATURATION_THRESHOLD,
    progress: Progress | None = None,
    rules: Sequence[Rule] | None = None,
    target: Target | None = None,
    serve_batch: int | None = None,
    distributed: bool = False,
    reference: Profile | str | Path | None = None,
) -> Inspection:
    """Diagnose every normalization layer of a model on the data given.

    `model` is a live torch.nn.Module, which is left bit-identical, or the path of a model file. `batches` is an array
    or tensor of samples, a map-style data set, or an iterable of batches (arrays, tensors, tuples whose first element
    is the input, dicts by input name); `data` are the command line's data specifications instead. Without either, only
    what the file itself says is reported. `train_batches` or `train_data` are some of what the model was trained on,
    run as well. What can be indexed is read in a random order of `data_options.seed`, unless `shuffled` there is False.
    The rules on the graph (ND2xx) look at an ONNX model always, and at a PyTorch model where the data,
    `data_options.input_shapes` or the program itself give an example of its input: a copy of it is then exported once.
    `attribute` ranks the layers by what each adds to the gap. `threshold` in (0, 1) on |f'|/max|f'| is where an
    activation counts as saturated. `progress(samples, total)` is called after each batch; total is None where unknown.
    `rules` are those that look for findings, None for all, `target` the number format that the model is to run in,
    where some rules look more closely; for "fp16" and "bf16" the model is also run in it, and `half` in the report says
    which norms have to stay in float32. `serve_batch` is the number of samples that it is served in together.
    `distributed` works with the other processes that torchrun has started, which must all call it: each runs its share
    of `data`, or the `batches` that it is given, and all get the same report. `reference` is a profile of this model,
    or of the same in another format, or its file: the drift at every point is then measured against it, for one more
    run of each batch. For an ONNX export with folded BatchNorm it may be the checkpoint instead: these layers are then
    measured as if they still stood there.

    While a module is inspected or folded nothing else may run or change it, in no other thread either: its modules are
    in eval mode meanwhile, and the seed of torch's random numbers is set, and put back after.

    Ctrl-C ends the run and reports on what was seen so far. Raises InputError for a model or data that cannot be
    used, UsageError for arguments that contradict each other.

    >>> import normdiag
    >>> found = normdiag.inspect("sample_models/digits_mlp_batch.onnx", data=["sample_models/digits.npz"])
    >>> found.verdict
    'ok'
    >>> found.gap.top1_disagreement < 0.08
    True

    A live module, and what is wrong with it:

    >>> import numpy as np
    >>> from sample_models.net import DigitsCNN
    >>> images = np.load("sample_models/digits.npz")["x"]
    >>> fresh = normdiag.inspect(DigitsCNN(), images.astype("float32") / 255)
    >>> [(each.cause, each.remedy.action) for each in fresh.diagnosis]
    [('never_updated', 'recalibrate')]
    """
    options = replace(in_random_order(data_options), no_small_last=False)
    data, train_data = as_specs(data), as_specs(train_data)
    given = _Given(batches, data, train_batches, train_data, options)
    _check_limits(threshold, serve_batch)
    rules = RULES if rules is None else rules
    deployed = Deployment(target, serve_batch)
    reading = streaming_where_needed(load_options)
    loaded = open_model(model, reading, run=given.any)
    if loaded.fitting:
        from normdiag.commands.architecture import as_data_fits  # which runs models

        loaded = as_data_fits(loaded, reading, given.batches, given.data, given.options, device)
    beside = _reference(reference, given, loaded)
    if given.any:
        loaded = with_ready_commands(loaded, "inspect", [word for each in data for word in ("--data", each)])
    ranks = _processes(alone=not distributed or not given.any, attribute=attribute)
    options = replace(options, shard=(ranks.rank, ranks.size))
    runs = loaded.info.backend == "pytorch" and loaded.program is not None
    if not given.any:
        if options.input_shapes and not runs:
            raise UsageError("--input-shape does nothing here without --data random")
        example = made_up_example(loaded, options) if runs else None
        return _result(_static_report(loaded), loaded, rules, deployed, example)
    from normdiag.commands.feeding import with_feeding
    from normdiag.commands.measure import runnable  # what a static report does without
    from normdiag.commands.sources import Remembering, open_source

    loaded = with_feeding(loaded, options, data, code=batches is not None)
    running = runnable(loaded)
    if given.data == RANDOM:
        if running.program is None:
            return _result(_static_report(running, RANDOM[0]), loaded, rules, deployed)
        running = with_made_up_inputs(running, options)
    options, notes = _prepared(running, data, options, device)
    source = Remembering(open_source(running, batches, data, options))
    if running.program is None:
        return _result(_static_report(running, source.info.source), loaded, rules, deployed)
    how = _Measuring(device, attribute, threshold, progress, ranks, beside, target)
    report = _measured(running, source, replace(given, options=options), how)
    report = replace(report, notes=(*notes, *report.notes), feeding=options.words if data else ())
    loaded = loaded if beside is None else beside.without(loaded)
    return _result(report, loaded, rules, deployed, None if report.interrupted else source.first)


def _result(
    report: Report, model: Model, rules: Sequence[Rule], deployed: Deployment, example: Batch | None = None
) -> Inspection:
    if deployed.target in ("fp16", "bf16") and report.half is None:
        report = replace(report, notes=(*report.notes, f"no precision plan for {deployed.target}: {_no_plan(report)}"))
    return result_of(Inspection, judged(report, model, rules, deployed, example))


def _no_plan(report: Report) -> str:
    if report.data is None:
        return f"nothing was run ({report.why_not_run})" if report.why_not_run else "it takes data to run the model on"
    if report.data.random:
        return "made-up data say nothing of how large values get"
    return "the run was stopped" if report.interrupted else "it is made by one process alone, without torchrun"


@dataclass(frozen=True, eq=False)
class _Given:
    """The data, in either form, what the model was trained on, and how both are read."""

    batches: Iterable[Any] | None
    data: tuple[str, ...]
    train_batches: Iterable[Any] | None
    train_data: tuple[str, ...]
    options: DataOptions

    def __post_init__(self) -> None:
        """Raises UsageError for what contradicts itself."""
        if (self.batches is not None and self.data) or (self.train_batches is not None and self.train_data):
            raise UsageError("give either batches or data, not both")
        if self.training and not self.any:
            raise UsageError("data that the model was trained on goes beside other data, and there is none")

    @property
    def any(self) -> bool:
        """Whether there is data."""
        return self.batches is not None or bool(self.data)

    @property
    def training(self) -> bool:
        """Whether there is some of what the model was trained on."""
        return self.train_batches is not None or bool(self.train_data)


@dataclass(frozen=True)
class _Measuring:
    device: str | None
    attribute: bool
    threshold: float
    progress: Progress | None
    ranks: Ranks
    reference: Reference | None
    target: Target | None = None


def _measured(model: Model, source: Remembering, given: _Given, how: _Measuring) -> Report:
    """The report on the data and, where there is some, on that of the training."""
    from normdiag.commands.measure import measured_report, open_runner, with_training_data
    from normdiag.commands.narrow import with_narrow
    from normdiag.commands.preparation import with_preparations
    from normdiag.commands.sources import open_source

    runner = open_runner(model, how.device, how.threshold)
    training = open_source(model, given.train_batches, given.train_data, given.options) if given.training else None
    report = measured_report(model, runner, source, how.attribute, how.progress, how.ranks, how.reference)
    if how.ranks is ALONE:
        report = with_preparations(report, model, runner, source.source, given.data, given.options)
        report = with_narrow(report, model, runner, source.first, how.target)
    if training is None or report.interrupted:
        return report
    return with_training_data(report, measured_report(model, runner, training, False, how.progress, how.ranks))


def _reference(reference: Profile | str | Path | None, given: _Given, model: Model) -> Reference | None:
    """The reference, read before the model is run. Raises UsageError where there is no real data to compare with it."""
    if reference is None:
        return None
    if not given.any or given.data == RANDOM:
        raise UsageError("a reference is compared with what real data shows: give data with --data")
    from normdiag.commands.reference import open_reference

    return open_reference(reference, model)


def _check_limits(threshold: float, serve_batch: int | None) -> None:
    if not 0.0 < threshold < 1.0:
        raise UsageError(f"the saturation threshold must lie between 0 and 1, not at {threshold:g}")
    if serve_batch is not None and serve_batch < 1:
        raise UsageError(f"the serving batch size must be at least 1, not {serve_batch}")


def _prepared(
    model: Model, data: Sequence[str], options: DataOptions, device: str | None
) -> tuple[DataOptions, tuple[str, ...]]:
    """The options with a preparation in place of AUTO, and a note on it."""
    if options.preprocess != AUTO or model.program is None:
        return options, ()
    from normdiag.commands.preprocess import chosen_preparation

    chosen, note = chosen_preparation(model, data, options, device)
    return chosen, (note,)


def _processes(*, alone: bool, attribute: bool) -> Ranks:
    ranks = ALONE if alone else started()
    if attribute and ranks.size > 1:
        raise UsageError("--attribute is measured by one process alone: start it without torchrun")
    return ranks


def _static_report(model: Model, unused_data: str | None = None) -> Report:
    """What the file alone says. Data beside weights that cannot be run is said to be unused."""
    notes = []
    trained = [layer for layer in model.layers if layer.training and layer.has_statistics]
    in_training = [layer.name for layer in trained if model.info.backend == "onnx"]
    if in_training:
        notes.append(
            f"exported in training mode: {abridged(in_training)}; the output depends on what else is in the batch"
        )
    layers = tuple(LayerMetrics(layer) for layer in model.layers)
    return Report(model.info, None, layers, notes=tuple(notes), why_not_run=model.why_not_run, unused_data=unused_data)
