"""What to do about a cause, in a sentence and, where normdiag can do it, as a command that is ready to paste."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from normdiag.diagnosis.cause import Case
from normdiag.records import Action, Remedy, Report

TEXTS: dict[Action, str] = {
    "recalibrate": "Recalibrate the statistics on training data, and measure the accuracy before and after.",
    "fix_input": "Prepare the input as in training: scale, mean, deviation, order of channels.",
    "reload_weights": "Load these layers again, weights and buffers, from the file that was saved in training.",
    "reexport": "Call model.eval() and export again.",
    "retrain": "Train again.",
    "check_training_data": "Hold a few samples against those of training, and bring the data to what the training saw.",
    "use_more_data": "Give data of all kinds and classes, in random order.",
    "none": "Nothing repairs it but the model as it was.",
}
# What is written back in the same kind of file; anything else becomes a state dict.
SAME = {".onnx", ".safetensors", ".pt", ".pth"}


def remedy(action: Action, case: Case, report: Report) -> Remedy:
    """The remedy of a case. The command names the files of this run where they are known."""
    if action == "recalibrate" and _folded_away(report):
        return Remedy(action, "Recalibrate the checkpoint on training data, and export it again.", None, None)
    return Remedy(action, case.remedy or TEXTS[action], _command(action, case, report), case.option)


def _folded_away(report: Report) -> bool:
    """Whether the layers are no longer in the model that ran, and were measured with the weights from before."""
    return report.data is not None and any(each.layer.origin == "weights" for each in report.layers)


def _command(action: Action, case: Case, report: Report) -> str | None:
    path = report.model.path
    if path is None:
        return None
    if action == "recalibrate":
        suffix = PurePath(path).suffix.lower()
        output = f"fixed{suffix if suffix in SAME else '.pt'}"
        fed = (*_typed(report.feeding), *_prepared(report))
        words = ("normdiag recalibrate", shlex.quote(path), *_typed(report.reading), "--data train/", *fed)
        return " ".join((*words, "-o", output))
    if action == "fix_input" and case.option is not None and report.data is not None:
        known = report.reference.path if report.reference is not None else None
        beside = () if known is None else ("--reference", known)
        fed = ("--data", report.data.source, *report.feeding, "--preprocess", case.option)
        return " ".join(("normdiag inspect", *_typed((path, *report.reading, *fed, *beside))))
    return None


def _typed(words: Sequence[str]) -> Iterator[str]:
    return map(shlex.quote, words)


def _prepared(report: Report) -> tuple[str, ...]:
    """The preparation of this run, where it was asked for."""
    given = report.data.preprocess if report.data is not None else None
    plain = given is None or given.endswith("(default for 8-bit data)") or given.startswith("raw (")
    return () if given is None or plain else ("--preprocess", shlex.quote(given))
