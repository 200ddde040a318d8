"""`normdiag fold`: options to the API, report to stdout, exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from normdiag.data import DataOptions
from normdiag.folding.options import ExportOptions
from normdiag.models import LoadOptions
from normdiag.records import Finding, FoldReport
from normdiag.results.folded import FoldResult
from tests.cli.conftest import Called, Result
from tests.report.fold_reports import clean, failed, nothing
from tests.report.texts import fold_text

Cli = Callable[..., Result]


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> Callable[[FoldReport], list[Called]]:
    """The API returns this report; the calls are recorded."""

    def returning(report: FoldReport) -> list[Called]:
        seen: list[Called] = []

        def fake(model: Any, **options: Any) -> FoldResult:
            seen.append(Called(model, options))
            return FoldResult(report)

        monkeypatch.setattr("normdiag.commands.fold.fold", fake)
        return seen

    return returning


def test_defaults_are_those_of_the_api(cli: Cli, folds: Callable[[FoldReport], list[Called]]) -> None:
    calls = folds(clean())
    result = cli("fold", "net.onnx", "-o", "folded.onnx")
    assert (result.code, result.err) == (0, "")
    assert result.out == fold_text(clean(), width=80)
    (call,) = calls
    assert call.model == Path("net.onnx")
    assert call.options == {
        "output": Path("folded.onnx"),
        "norms": ("batch",),
        "force": False,
        "dry_run": False,
        "set_eval": False,
        "verify": True,
        "data": (),
        "data_options": DataOptions(batch_size=8),
        "load_options": LoadOptions(),
        "export": ExportOptions(),
        "progress": None,
    }


def test_every_option_reaches_the_api(cli: Cli, folds: Callable[[FoldReport], list[Called]]) -> None:
    calls = folds(clean())
    given = (
        "fold net.pt -o f.onnx --force --dry-run --norms batch,layer --no-verify --data a=x.npy --preprocess imagenet"
        " --batch-size 4 --max-samples 9 --resize 256 --crop 224 --rgb --input-shape 3,8,8 --seed 3"
        " --arch net.py:Net --arch-arg n=1"
        " --key ema --opset 20 --input-name image --output-name a --output-name b --static-batch --quiet"
    )
    assert cli(*given.split()).code == 0
    (call,) = calls
    options = call.options
    assert (options["force"], options["dry_run"], options["verify"]) == (True, True, False)
    assert options["norms"] == ("batch", "layer")
    assert options["data"] == ("a=x.npy",)
    assert options["data_options"] == DataOptions(
        preprocess="imagenet", batch_size=4, max_samples=9, seed=3, resize=256, crop=224, grayscale=False,
        input_shapes=("3,8,8",),
    )  # fmt: skip
    assert options["load_options"] == LoadOptions(key="ema", arch="net.py:Net", arch_args=("n=1",))
    assert options["export"] == ExportOptions((), 20, ("image",), ("a", "b"))


def test_json_is_all_that_stdout_holds(cli: Cli, folds: Callable[[FoldReport], list[Called]]) -> None:
    folds(clean())
    result = cli("fold", "net.onnx", "-o", "f.onnx", "--json")
    assert json.loads(result.out)["plan"]["folded"] == 3


def test_a_fold_that_is_not_proven_exits_1_and_names_the_worst_layer(
    cli: Cli, folds: Callable[[FoldReport], list[Called]]
) -> None:
    folds(failed())
    result = cli("fold", "net.onnx", "-o", "f.onnx")
    assert result.code == 1
    assert "NOT VERIFIED" in result.out
    assert "layer2.bn" in result.err
    assert "nothing was written" in result.err
    assert result.err.count("\n") == 1


def test_a_warning_does_not_fail_and_an_error_does(cli: Cli, folds: Callable[[FoldReport], list[Called]]) -> None:
    finding = Finding("ND208", "int8-range-spread", "warning", "high", ("conv1",), "spread", "Quantize per channel.")
    folds(replace(clean(), findings=(finding,)))
    assert cli("fold", "net.onnx", "-o", "f.onnx").code == 0
    folds(replace(clean(), findings=(replace(finding, severity="error"),)))
    assert cli("fold", "net.onnx", "-o", "f.onnx").code == 1


def test_where_to_write_must_be_said(cli: Cli, folds: Callable[[FoldReport], list[Called]]) -> None:
    calls = folds(nothing())
    assert cli("fold", "net.onnx").code == 2
    assert not calls
    assert cli("fold", "net.onnx", "--dry-run").code == 0
    assert cli("fold", "", "--dry-run").code == 2


def test_ctrl_c_says_what_it_leaves_behind(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(model: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("normdiag.commands.fold.fold", interrupted)
    result = cli("fold", "net.onnx", "-o", "f.onnx")
    assert (result.code, result.out, result.err) == (130, "", "normdiag: interrupted; nothing written\n")
