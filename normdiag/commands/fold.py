"""From a model to a folded one: open, plan, fold, verify, write. What was not verified is written only if asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normdiag.commands.architecture import as_data_fits
from normdiag.commands.example import with_made_up_inputs
from normdiag.commands.fold_folder import check_folder, is_checkpoint
from normdiag.commands.fold_inputs import FoldInputs, example_of, feeds_of
from normdiag.commands.ready import with_ready_commands
from normdiag.data import DataOptions
from normdiag.data.specs import as_specs
from normdiag.errors import InputError, UsageError
from normdiag.extras import require_export, require_onnx_export
from normdiag.folding.backend import Foldable, Folded
from normdiag.folding.checked import checked_plan
from normdiag.folding.checks import Peaks
from normdiag.folding.options import SUFFIXES, ExportOptions
from normdiag.folding.ranges import range_spreads
from normdiag.folding.verify import verify
from normdiag.models import LoadOptions, from_module, load, refuse_for_onnx
from normdiag.models.sniff import sniff
from normdiag.records import FoldPlan, FoldReport, Report
from normdiag.results.folded import FoldResult
from normdiag.results.notebook import shows_progress
from normdiag.rules import with_findings
from normdiag.writing.atomic import check_place

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[int, "int | None"], None]
NORMS = ("batch", "layer")
NOT_PROVEN = "nothing was run: that the folded model equals the original is not verified"
STATIC = "--static-batch"
UNCHANGED = "nothing was folded: the model is as it was, and there is nothing to verify"
DRY = "a dry run: nothing was run or written"


@dataclass(frozen=True, eq=False)
class FoldOptions:
    """What `fold` is asked for.

    `output` is where the result goes, None for nowhere; its ending says the format, and where it says none, it is the
    `folder` of a Hugging Face checkpoint. `norms` are the kinds: batch, and layer for gamma and beta of LayerNorm and
    RMSNorm. `force` replaces an existing file. `dry_run` ends with the plan;
    without `verify` nothing is run. `set_eval` puts an ONNX model into evaluation mode first.
    """

    output: Path | None = None
    norms: tuple[str, ...] = ("batch",)
    force: bool = False
    dry_run: bool = False
    verify: bool = True
    export: ExportOptions = field(default_factory=ExportOptions)
    set_eval: bool = False
    folder: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError for kinds of norms that there are not, InputError for a file that cannot be written."""
        unknown = [name for name in self.norms if name not in NORMS]
        if unknown or not self.norms:
            raise UsageError(f"--norms {','.join(self.norms)}: give batch, layer or batch,layer")
        if self.output is not None:
            if self.folder:
                check_folder(self.output, self.force)
            else:
                _check_output(self.output, self.force)
            given = [option for option in _given(self.export) if option != STATIC]
            if given and self.output.suffix.lower() != ".onnx":
                raise UsageError(f"{given[0]} is for .onnx files, which -o {self.output} is not")


@shows_progress("runs")
def fold(
    model: nn.Module | str | Path,
    batches: Iterable[Any] | None = None,
    *,
    output: str | Path | None = None,
    norms: Sequence[str] = ("batch",),
    force: bool = False,
    dry_run: bool = False,
    verify: bool = True,
    data: Sequence[str] = (),
    data_options: DataOptions | None = None,
    load_options: LoadOptions | None = None,
    export: ExportOptions | None = None,
    set_eval: bool = False,
    progress: Progress | None = None,
) -> FoldResult:
    """Fold BatchNorm into the neighbouring linear layers, verify that nothing else changed, and write the result.

    `model` is a live torch.nn.Module, which is left as it is, or the path of a model file. `batches` and `data` are
    what both models are run on, as for `inspect`; without either, seeded inputs of the shapes that the model or
    `data_options.input_shapes` gives. `output` ends in .onnx, .pt2, or .safetensors, .pt and .pth for weights; of a
    Hugging Face checkpoint it may be a new folder, for one of the same architecture. What exists is replaced only with
    `force`, and nothing is written where the verification fails
    (`result.verification.passed`). `norms`: "batch", and "layer" for gamma and beta of LayerNorm and RMSNorm. `dry_run`
    ends with the plan; without `verify` nothing is run. `set_eval` puts an ONNX model that was exported in training
    mode into evaluation mode first, and compares with that. `progress(runs, total)` is called after each run.

    Raises InputError for a model or data that cannot be used, UsageError for arguments that contradict each other.

    >>> import normdiag
    >>> result = normdiag.fold("sample_models/digits_cnn.onnx")
    >>> result
    <FoldResult: 3 of 3 norms folded.>
    >>> result.verification.passed
    True
    """
    if batches is not None and data:
        raise UsageError("give either batches or data, not both")
    target = None if output is None else Path(output)
    folder = target is not None and target.suffix.lower() not in SUFFIXES and is_checkpoint(model)
    options = FoldOptions(target, tuple(norms), force, dry_run, verify, export or ExportOptions(), set_eval, folder)
    inputs = FoldInputs(batches, as_specs(data), data_options or DataOptions())
    return run_fold(model, inputs, load_options or LoadOptions(), options, progress)


def run_fold(
    model: Any, inputs: FoldInputs, reading: LoadOptions, options: FoldOptions, progress: Progress | None
) -> FoldResult:
    """Open, plan, fold, verify and write. Raises InputError and UsageError as `normdiag.fold` does."""
    foldable = open_foldable(model, inputs, reading, options)
    result = _folded(foldable, inputs, options, progress)
    report = replace(result.report, model=replace(result.report.model, sha256=foldable.sha256))
    return replace(result, report=report)


def _folded(foldable: Foldable, inputs: FoldInputs, options: FoldOptions, progress: Progress | None) -> FoldResult:
    peaks = Peaks()
    plan = checked_plan(foldable.graph, frozenset(options.norms), peaks=peaks)
    report = _planned(foldable, plan, peaks)
    if options.dry_run:
        return FoldResult(_noted(report, DRY))
    folded = foldable.fold(plan)
    report = replace(report, size_after=folded.size_bytes)
    if not plan.steps:
        report = _noted(report, UNCHANGED)
    elif options.verify:
        verified = verify(foldable, folded, plan, feeds_of(foldable, inputs), progress=progress)
        report = replace(report, verification=verified)
        if not verified.passed:
            return FoldResult(report, folded)
    else:
        report = _noted(report, NOT_PROVEN)
    return FoldResult(report if options.output is None else _written(report, folded, options.output), folded)


def open_foldable(model: Any, inputs: FoldInputs, reading: LoadOptions, options: FoldOptions) -> Foldable:
    """The model in the backend that folds it. Raises InputError for weights whose code is not known."""
    if isinstance(model, str | Path) and sniff(Path(model)) == "onnx":
        return _open_onnx(Path(model), reading, options)
    if options.folder and options.output is not None:
        from normdiag.commands.fold_checkpoint import open_checkpoint

        return open_checkpoint(Path(model), options.output, options.norms, inputs, reading)
    is_module = callable(getattr(model, "named_modules", None)) and not isinstance(model, type)
    if not isinstance(model, str | Path) and not is_module:
        raise UsageError(f"a model is a path or a torch.nn.Module, not {type(model).__name__}: {model!r:.80}")
    loaded = load(Path(model), reading, run=True) if isinstance(model, str | Path) else from_module(model)
    loaded = as_data_fits(loaded, reading, inputs.batches, inputs.data, inputs.options)
    if loaded.program is None:
        output = () if options.output is None else ("-o", str(options.output))
        why = with_ready_commands(loaded, "fold", output).why_not_run
        raise InputError(f"{loaded.info.path}: {why}")
    if not inputs.chosen and not inputs.options.input_shapes:
        loaded = with_made_up_inputs(loaded)
    if options.set_eval:
        raise UsageError("--set-eval is for ONNX models; a PyTorch model is always folded in evaluation mode")
    _require_exporters(options.output)
    from normdiag.folding.pytorch import TorchFoldable

    return TorchFoldable(loaded.program, loaded.info, example_of(loaded, inputs), options.export)


def _require_exporters(output: Path | None) -> None:
    """Raises UsageError where the packages that fold a PyTorch model, or write it as ONNX, are missing or too old."""
    if output is not None and output.suffix.lower() == ".onnx":
        require_onnx_export("writing a PyTorch model as ONNX needs")
    else:
        require_export("folding a PyTorch model needs")


def _open_onnx(path: Path, reading: LoadOptions, options: FoldOptions) -> Foldable:
    if options.output is not None and options.output.suffix.lower() != ".onnx":
        raise UsageError(f"-o {options.output}: what is folded in an ONNX model is written as .onnx")
    refuse_for_onnx(reading, path)
    if reading.provider is not None:
        raise UsageError(f"--provider {reading.provider}: folds are verified on the CPU")
    given = _given(options.export)
    if given:
        raise UsageError(f"{given[0]} is for PyTorch models; {path.name} is an ONNX file, which keeps its own")
    from normdiag.folding.onnx import OnnxFoldable

    return OnnxFoldable(path, set_eval=options.set_eval)


def _planned(foldable: Foldable, plan: FoldPlan, peaks: Peaks) -> FoldReport:
    """The report of a plan: nothing was done yet."""
    ranges = range_spreads(foldable.graph, plan, peaks)
    found = with_findings(Report(foldable.info, None, (), ranges=ranges)).findings
    return FoldReport(
        foldable.info, plan, ranges=ranges, findings=found, size_before=foldable.size_bytes, notes=foldable.notes
    )


def _written(report: FoldReport, folded: Folded, output: Path) -> FoldReport:
    return replace(_noted(report, *folded.write(output)), written=str(output))


def _noted(report: FoldReport, *notes: str) -> FoldReport:
    return replace(report, notes=(*report.notes, *notes))


def _given(export: ExportOptions) -> list[str]:
    """The options of the export that the user set, by their names on the command line."""
    is_set = {
        "--opset": export.opset is not None,
        "--input-name": bool(export.input_names),
        "--output-name": bool(export.output_names),
        STATIC: export.dynamic_axes != ExportOptions.dynamic_axes,
    }
    return [option for option, given in is_set.items() if given]


def _check_output(output: Path, force: bool) -> None:
    """Before any work. Raises UsageError for a name that says no format or exists, InputError for a bad folder."""
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o {output}: end the name with one of {', '.join(SUFFIXES)}; the ending says the format")
    check_place(output, "-o")
    if output.exists() and not force:
        raise UsageError(f"-o {output} exists; --force replaces it")
