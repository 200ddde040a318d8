"""Many models: which files, each for itself, with rules and data of their own, in processes too."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import normdiag
from normdiag.commands.check import Checking, check
from normdiag.commands.model_files import find_models
from normdiag.config import Config, DataSettings, baseline
from normdiag.data import DataOptions
from normdiag.errors import InputError, UsageError
from normdiag.records import CheckedModel, CheckReport
from normdiag.report.check_phrases import skipped_line
from normdiag.rules import RULES
from tests.nets.onnx.text import from_text
from tests.report.checks import finding
from tests.report.reports import healthy, interrupted
from tests.rules.graph_reports import bn

GOOD = "digits_cnn.onnx"


@pytest.fixture
def folder(tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good model, one with a NaN, one that is broken, and files that are no models."""
    monkeypatch.chdir(tmp_path)
    models = tmp_path / "models"
    (models / "deep").mkdir(parents=True)
    (models / ".hidden").mkdir()
    shutil.copy(samples / GOOD, models / "good.onnx")
    shutil.copy(samples / GOOD, models / ".hidden" / "good.onnx")
    shutil.copy(samples / GOOD, models / ".good.onnx")
    spoilt(samples / "digits_cnn.pt", models / "deep" / "nan.safetensors")
    (models / "broken.PT").write_bytes(b"PK\x03\x04 truncated")
    (models / "notes.txt").write_text("no model")
    return models


def spoilt(source: Path, target: Path, key: str = "norm1.weight", value: float = np.nan) -> None:
    """The weights of a sample model with one value changed, as safetensors."""
    from safetensors.numpy import save_file

    from normdiag.models.static import read_static

    tensors = {name: np.array(tensor) for name, tensor in read_static(source, "torch-zip", None).tensors.items()}
    tensors[key][3] = value
    save_file(tensors, str(target))


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Every call of `inspect`, which finds one error in each model."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def fake(model: str, **options: Any) -> normdiag.Report:
        calls.append((model, options))
        return replace(healthy(), findings=(finding("ND101", "head.bn"),))

    monkeypatch.setattr("normdiag.commands.check.inspect", fake)
    return calls


def paths(report: CheckReport) -> list[str]:
    return [model.path for model in report.models]


def test_folders_globs_and_files_each_once(folder: Path) -> None:
    assert list(find_models(["models"]).files) == [
        "models/broken.PT",
        "models/good.onnx",
        "models/deep/nan.safetensors",
    ]
    assert list(find_models(["models/*.onnx", folder / "good.onnx", "./models/../models/good.onnx"]).files) == [
        "models/good.onnx"
    ]
    assert list(find_models(["models/**/*.safetensors"]).files) == ["models/deep/nan.safetensors"]
    assert list(find_models(["mod*"]).files) == list(find_models(["models"]).files)
    assert list(find_models(["models/notes.txt", "missing.pt"]).files) == ["models/notes.txt", "missing.pt"]


def test_a_file_whose_name_looks_like_a_glob(folder: Path) -> None:
    shutil.copy(folder / "good.onnx", "net[1].onnx")
    assert find_models(["net[1].onnx"]).files == ("net[1].onnx",)


def test_files_outside_the_current_folder_keep_their_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "deep")
    assert list(find_models(["../good.onnx"]).files) == ["../good.onnx"]
    assert list(find_models([folder / "good.onnx"]).files) == [(folder / "good.onnx").as_posix()]


@pytest.mark.parametrize("path", ["models/.hidden/..", "*.onnx", "empty"])
def test_nothing_to_check_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "models" / ".hidden").mkdir(parents=True)
    with pytest.raises(InputError, match="there is no model file"):
        check([path])


def test_an_empty_path() -> None:
    with pytest.raises(InputError, match="empty"):
        find_models([""])


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_model_is_checked_whatever_the_others_are(folder: Path, jobs: int) -> None:
    report = check(["models", "missing.pt"], jobs=jobs)
    broken, good, nan, missing = report.models
    assert [each.rule for each in good.findings] == ["ND202"] and good.error is None
    assert len(good.report.layers if good.report else ()) == 3
    assert [(each.rule, each.layer) for each in nan.findings] == [("ND101", "norm1")]
    assert "truncated" in (broken.error or "") and "no such file" in (missing.error or "")
    assert report.unreadable == (broken, missing) and not report.passed
    assert all(model.seconds > 0 for model in report.models)


def test_the_gate(folder: Path) -> None:
    assert not check(["models/deep"]).passed
    assert check(["models/deep"], Checking(Config(fail_on="never"))).passed
    assert check(["models/deep"], Checking(Config(ignore=("ND101",)))).passed
    assert not check(["models/good.onnx"], Checking(Config(fail_on="info"))).passed, "its BatchNorm could be folded"
    assert check(["models/good.onnx"], Checking(Config(fail_on="info", ignore=("ND202",)))).passed


def test_limits_reach_the_rules(folder: Path, samples: Path) -> None:
    spoilt(samples / "digits_cnn.pt", folder / "dim.safetensors", "norm1.running_var", 5e-6)
    strict = Config(limits={"ND103": {"dead_ratio": 0.9, "half": 0.01}}, fail_on="warning")
    assert check(["models/dim.safetensors"], Checking(replace(strict, limits={}))).passed
    assert not check(["models/dim.safetensors"], Checking(strict)).passed
    with pytest.raises(UsageError, match="no limit"):
        check(["models/good.onnx"], Checking(Config(limits={"ND103": {"x": 1}})))


def test_each_model_gets_its_own_rules_data_and_target(inspected: list[tuple[str, dict[str, Any]]]) -> None:
    config = Config(
        select=("ND1",),
        target="fp16",
        per_file_ignores={"a.onnx": ("ND101",)},
        per_layer_ignores={"head.*": ("ND101",)},
        models={"b.onnx": DataSettings(data=("val.npz",), batch_size=4)},
    )
    report = check(["a.onnx", "b.onnx"], Checking(config, device="cpu", threshold=0.1))
    (_, first), (_, second) = inspected
    series = [rule.id for rule in RULES if rule.id.startswith("ND1")]
    assert [rule.id for rule in first["rules"]] == [each for each in series if each != "ND101"]
    assert [rule.id for rule in second["rules"]] == series == list(report.rules)
    assert (first["data"], second["data"]) == ((), ("val.npz",))
    assert second["data_options"] == DataOptions(batch_size=4)
    assert {call["target"] for _, call in inspected} == {"fp16"} and second["threshold"] == 0.1
    assert report.models[1].findings == () and report.models[0].rules == tuple(series[1:])


def test_data_is_run(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(samples)
    config = Config(data=DataSettings(data=("digits.npz",), max_samples=96))
    (model,) = check([GOOD], Checking(config)).models
    assert model.error is None and model.report is not None and model.report.data is not None
    assert model.report.data.samples == 96


def test_data_that_does_not_exist_is_the_error_of_a_model(samples: Path) -> None:
    (model,) = check([samples / GOOD], Checking(Config(data=DataSettings(data=("missing.npz",))))).models
    assert "missing.npz" in (model.error or "")


def test_settings_that_cannot_be_are_refused_before_any_work(inspected: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(UsageError, match="batch-size"):
        check(["a.onnx"], Checking(Config(data=DataSettings(batch_size=0))))
    with pytest.raises(UsageError, match="no rule"):
        check(["a.onnx"], Checking(Config(select=("ND9",))))
    assert inspected == []


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), MemoryError(), RecursionError(), OSError(5, "I/O error")])
def test_a_failure_of_our_own_is_the_error_of_one_model(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(path: str, **options: Any) -> normdiag.Report:
        if path == "a":
            raise error
        return healthy()

    monkeypatch.setattr("normdiag.commands.check.inspect", fail)
    monkeypatch.delenv("NORMDIAG_DEBUG", raising=False)
    first, second = check(["a", "b"]).models
    assert first.error and second.error is None
    monkeypatch.setenv("NORMDIAG_DEBUG", "1")
    with pytest.raises(type(error)):
        check(["a", "b"])


def test_ctrl_c_in_a_run_ends_it_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "normdiag.commands.check.inspect", lambda path, **options: interrupted() if path == "b" else healthy()
    )
    report = check(["a", "b", "c"])
    assert paths(report) == ["a", "b"] and report.interrupted and not report.passed


def die_on_b(path: str, checking: Checking) -> CheckedModel:
    """In a worker: the process that gets b dies as one that the system kills for its memory."""
    if path == "b":
        os._exit(9)
    return CheckedModel(path)


def test_a_process_that_dies_takes_no_other_model_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normdiag.commands.check.check_one", die_on_b)
    report = check(["a", "b", "c"], jobs=2)
    assert paths(report) == ["a", "b", "c"]
    assert [bool(model.error) for model in report.models] == [False, True, False]
    assert report.models[1].error == "b: the process that checked it ended with exit code 9"


@pytest.mark.parametrize("isolated", [True, False])
def test_code_that_ends_the_program_ends_one_model(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolated: bool
) -> None:
    """`os.abort` as native code that crashes; without a process of its own only what Python can catch is caught."""
    monkeypatch.chdir(tmp_path)
    end = "os.abort()" if isolated else "sys.exit(3)"
    (tmp_path / "d.py").write_text(f"import os, sys\n\ndef feed():\n    {end}\n")
    config = Config(models={"digits_cnn.onnx": DataSettings(data=("d.py:feed",))})
    paths = [samples / GOOD, samples / "digits_cnn_training.onnx"]
    died, other = check(paths, Checking(config), isolated=isolated).models
    assert other.error is None and other.findings
    assert ("was killed by SIGABRT" if isolated else "exit") in (died.error or "").replace("SystemExit", "exit")


def die_of_ctrl_c(path: str, **options: Any) -> normdiag.Report:
    if path == "b":
        raise KeyboardInterrupt
    return healthy()


def test_ctrl_c_outside_of_a_run_keeps_what_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normdiag.commands.check.inspect", die_of_ctrl_c)
    report = check(["a", "b", "c"])
    assert paths(report) == ["a"] and report.unchecked == 2 and report.interrupted and not report.passed
    monkeypatch.setattr(
        "normdiag.commands.check.inspect", lambda path, **options: interrupted() if path == "c" else healthy()
    )
    report = check(["a", "b", "c"])
    assert (report.checked, report.unchecked) == (2, 0) and report.interrupted


def test_progress_is_told_after_each_model(inspected: list[tuple[str, dict[str, Any]]]) -> None:
    told: list[tuple[int, int | None]] = []
    check(["a", "b"], progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_a_baseline_is_read_before_any_work(
    folder: Path, inspected: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="baseline"):
        check(["a"], known=tmp_path / "missing.json")
    assert inspected == []


def test_check_is_part_of_the_package(folder: Path, real: Callable[[str], Path]) -> None:
    report = normdiag.check([real("basic_pitch/nmp.onnx")])
    assert report.passed and report.models[0].findings == ()


@pytest.mark.parametrize("by_flag", [True, False])
def test_data_that_nothing_ran_on_is_no_pass(samples: Path, monkeypatch: pytest.MonkeyPatch, by_flag: bool) -> None:
    """A report of the file alone in its place would say 'clean' of what was never measured."""
    monkeypatch.chdir(samples)
    given = DataSettings(data=("digits.npz",), max_samples=64)
    config = Config(data=given) if by_flag else Config(models={"*": given})
    weights, exported = check(["digits_cnn_foreign.pt", GOOD], Checking(config)).models
    assert weights.report is not None and weights.report.data is None, "what the file alone says is kept"
    assert "--arch net.py:Net" in (weights.error or "") and "[tool.normdiag.models]" in (weights.error or "")
    assert exported.error is None
    static = replace(config, select=("ND1", "ND2"))
    assert check(["digits_cnn_foreign.pt"], Checking(static)).passed, "no rule that needs data was asked for"


def test_a_folder_that_cannot_be_looked_into_is_a_line_of_the_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For root, which tests may run as, every folder can be read: the system's answer is made by hand."""

    def denied(real: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: str) -> Any:
            if str(path).endswith("deep"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        return look

    monkeypatch.setattr(os, "listdir", denied(os.listdir))
    monkeypatch.setattr(os, "scandir", denied(os.scandir))
    (broken, good, deep) = check(["models"]).models
    assert (broken.path, good.error, deep.path) == ("models/broken.PT", None, "models/deep")
    assert deep.error == (
        "models/deep: the folder cannot be looked into (Permission denied), so what it holds is not checked"
    )


def test_a_folder_of_torch_distributed_is_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    import torch.distributed.checkpoint as dcp

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    dcp.save({"model": net.state_dict()}, checkpoint_id=tmp_path / "runs" / "step_5", no_dist=True)
    (tmp_path / "runs" / "notes.txt").write_text("none")
    monkeypatch.chdir(tmp_path)
    for given in ("runs", "runs/step_5"):
        (model,) = check([given]).models
        assert model.path == "runs/step_5" and model.error is None and model.report is not None
        assert [each.layer.name for each in model.report.layers] == ["1"]


def test_links_are_followed_and_each_file_is_checked_once(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(folder / "good.onnx", elsewhere / "other.onnx")
    (folder / "link").symlink_to(elsewhere)
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "twice.onnx").symlink_to("good.onnx")
    files = ["models/broken.PT", "models/good.onnx", "models/deep/nan.safetensors", "models/link/other.onnx"]
    assert list(find_models(["models"]).files) == files
    assert sorted(find_models(["models/**"]).files) == sorted([*files, "models/notes.txt"])
    assert find_models(["models/twice.onnx", "models"]).files[0] == "models/twice.onnx"


def in_training(folder: Path, *names: str) -> Path:
    """A model of two BatchNorm layers, some of which use the statistics of their batch."""
    mode = {name: "<training_mode = 1>" if name in names else "" for name in ("b1", "b2")}
    body = f"{bn('x', 'a', 'b1', mode['b1'])} {bn('a', 'y', 'b2', mode['b2'])}"
    text = f"g (float[N,4,5,5] x) => (float[N,4,5,5] y) {{ {body} }}"
    path = folder / "net.onnx"
    path.write_bytes(from_text(text, 17).SerializeToString())
    return path


@pytest.mark.parametrize(("before", "after"), [(("b1",), ("b1", "b2")), (("b2",), ("b1", "b2")), (("b1",), ("b2",))])
def test_a_baseline_does_not_hide_a_layer_that_breaks_later(
    tmp_path: Path, before: Sequence[str], after: Sequence[str]
) -> None:
    known = tmp_path / "baseline.json"
    known.write_text(baseline.dump(check([in_training(tmp_path, *before)]), tmp_path), encoding="utf-8")
    assert check([in_training(tmp_path, *before)], known=known).passed
    report = check([in_training(tmp_path, *after)], known=known)
    new = set(after) - set(before)
    assert [each.layers for each in report.models[0].new if each.rule == "ND201"] == [tuple(new)]
    assert {each.layer for each in report.stale if each.rule == "ND201"} == set(before) - set(after)
    assert not report.passed


@pytest.mark.parametrize("ignored", ["b1", "b2"])
def test_an_ignored_layer_leaves_the_other_in_the_finding(tmp_path: Path, ignored: str) -> None:
    config = Config(select=("ND201",), per_layer_ignores={ignored: ("ND201",)})
    (model,) = check([in_training(tmp_path, "b1", "b2")], Checking(config)).models
    (left,) = {"b1", "b2"} - {ignored}
    assert [each.layers for each in model.findings] == [(left,)]
    assert model.findings[0].message.startswith(f"{left}: normalization with")


def test_weights_of_other_names_are_found_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "run/best.pth.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    (tmp_path / "openvino_model.bin").write_bytes(b"\0" * 8)
    (tmp_path / "data.bin").write_bytes(b"PK\x03\x04")
    for name in ("a.json", "b.JSON", "LICENSE", ".hidden"):
        (tmp_path / name).touch()
    found = find_models([tmp_path])
    names = [Path(each).name for each in found.files]
    assert names == ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin", "best.pth.tar"]
    assert found.skipped == {".json": 2, ".bin": 2, "no ending": 1}


def test_the_report_says_how_many_files_were_left_out(folder: Path) -> None:
    report = check(["models"])
    assert report.skipped == {".txt": 1}
    assert skipped_line(report) == "1 file in folders left out, no models by name: .txt (1)."
    assert skipped_line(check(["models/good.onnx"])) == ""
