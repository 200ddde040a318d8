"""`normdiag recalibrate`: options to the API, report to stdout, exit code, and what a user sees when it goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normdiag.data import DataOptions
from normdiag.models import LoadOptions
from normdiag.recalibration.options import RecalibrateOptions
from normdiag.records.recalibration import RecalibrationReport
from normdiag.results.recalibrated import RecalibrationResult
from tests.cli.conftest import Called, Result
from tests.report.recalibration_reports import few, repaired, right, worse

Cli = Callable[..., Result]
SAMPLES = Path(__file__).parents[2] / "sample_models"
AVERAGED = [SAMPLES / "digits_cnn_averaged.pt", "--arch", f"{SAMPLES / 'net.py'}:DigitsCNN"]
WORSE = "worse on the samples held out; nothing written (--accept-worse writes it all the same)"
TRAIN = SAMPLES / "digits_train.npz"


@pytest.fixture
def recalibrates(monkeypatch: pytest.MonkeyPatch) -> Callable[[RecalibrationReport], list[Called]]:
    """The API returns this report; the calls are recorded."""

    def returning(report: RecalibrationReport) -> list[Called]:
        seen: list[Called] = []

        def fake(model: Any, **options: Any) -> RecalibrationResult:
            seen.append(Called(model, options))
            return RecalibrationResult(report, {}, None)  # type: ignore[arg-type]

        monkeypatch.setattr("normdiag.commands.recalibrate.recalibrate", fake)
        return seen

    return returning


def test_defaults_are_those_of_the_api(cli: Cli, recalibrates: Callable[[RecalibrationReport], list[Called]]) -> None:
    calls = recalibrates(repaired())
    assert cli("recalibrate", "net.onnx", "--data", "x.npy", "-o", "o.onnx").code == 0
    (call,) = calls
    assert call.model == Path("net.onnx")
    assert call.options == {
        "data": ("x.npy",),
        "eval_data": (),
        "data_options": DataOptions(batch_size=64),
        "load_options": LoadOptions(),
        "options": RecalibrateOptions(output=Path("o.onnx")),
        "device": "cpu",
        "distributed": True,
        "progress": None,
    }


def test_every_option_reaches_the_api(cli: Cli, recalibrates: Any) -> None:
    calls = recalibrates(repaired())
    given = (
        "recalibrate net.pt --data a.npy --eval-data b.npz --dry-run --force --method sequential --layers a.*"
        " --layers b --only-drifting --pseudo-count 64 --tolerance 0.02 --holdout 0.3 --accept-worse --batch-size 8"
        " --in-order --seed 3 --arch net.py:Net --key ema --device cuda --quiet"
    )
    assert cli(*given.split()).code == 0
    options = calls[0].options
    assert options["options"] == RecalibrateOptions(
        method="sequential",
        pseudo_count=64.0,
        layers=("a.*", "b"),
        only_drifting=True,
        tolerance=0.02,
        holdout=0.3,
        accept_worse=True,
        force=True,
        dry_run=True,
    )
    assert options["data_options"] == DataOptions(batch_size=8, seed=3, shuffled=False)
    assert (options["eval_data"], options["device"]) == (("b.npz",), "cuda")
    assert options["load_options"] == LoadOptions(key="ema", arch="net.py:Net")


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        (repaired(), 0, ""),
        (right(), 0, ""),
        (few(), 0, ""),
        (
            worse(),
            1,
            "normdiag: worse on the samples held out; nothing written (--accept-worse writes it all the same)\n",
        ),
        (replace(worse(), written="o.pt"), 0, ""),
    ],
)
def test_exit_codes(cli: Cli, recalibrates: Any, report: RecalibrationReport, code: int, said: str) -> None:
    recalibrates(report)
    result = cli("recalibrate", "net.pt", "--data", "x.npy", "-o", "o.pt")
    assert (result.code, result.err) == (code, said)


def test_json_alone_is_on_stdout(cli: Cli, tmp_path: Path) -> None:
    result = cli("recalibrate", *AVERAGED, "--data", TRAIN, "-o", tmp_path / "o.pt", "--json")
    assert (result.code, result.err) == (0, "")
    found = json.loads(result.out)
    assert (found["outcome"], found["written"]) == ("recalibrated", str(tmp_path / "o.pt"))
    assert found["effect"]["accuracy"][1] > found["effect"]["accuracy"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*AVERAGED, "--data", TRAIN], "where shall the recalibrated model go?"),
        ([*AVERAGED, "-o", "o.pt"], "give it with --data"),
        ([AVERAGED[0], "--data", TRAIN, "-o", "o.pt"], "--arch net.py:Net"),
        ([*AVERAGED, "--data", "nothing.npz", "-o", "o.pt"], "there is no file or folder 'nothing.npz'"),
        ([*AVERAGED, "--data", TRAIN, "-o", "nowhere/o.pt"], "the folder nowhere does not exist"),
        ([*AVERAGED, "--data", TRAIN, "-o", "o.onnx"], "end the name with .pt"),
        ([*AVERAGED, "--data", TRAIN, "-o", "o.pt", "--keep", "2"], "--keep must be at least 0 and below 1"),
        ([*AVERAGED, "--data", TRAIN, "-o", "o.pt", "--layers", "x"], "--layers x: no layer with running statistics"),
        (
            [SAMPLES / "digits_cnn_folded.onnx", "--data", TRAIN, "-o", "o.onnx"],
            "the exporter folded 3 BatchNorm",
        ),
        ([SAMPLES / "digits_cnn.onnx", "--trust", "--data", TRAIN, "-o", "o.onnx"], "--trust is for PyTorch files"),
        ([SAMPLES / "digits_cnn.onnx", "--device", "cuda", "--data", TRAIN, "-o", "o.onnx"], "run on the CPU"),
    ],
)
def test_bad_input_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("recalibrate", *arguments)
    assert result.code == 2 and result.out == ""
    assert message in result.err and result.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_data_that_is_not_finite_or_does_not_fit(cli: Cli, tmp_path: Path) -> None:
    x = np.zeros((40, 1, 8, 8), np.float32)
    np.save(tmp_path / "wide.npy", x[..., :0:-1].repeat(2, 1))
    x[33, 0, 0, 0] = np.nan
    np.save(tmp_path / "nan.npy", x)
    for name, message in (("nan.npy", "holds NaN"), ("wide.npy", "the model failed on data of")):
        result = cli("recalibrate", *AVERAGED, "--data", tmp_path / name, "-o", tmp_path / "o.pt")
        assert result.code == 2 and message in result.err and result.err.count("\n") == 1, result.err
        assert not (tmp_path / "o.pt").exists()


def test_ctrl_c_leaves_the_old_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "loader.py").write_text(
        "import numpy as np\n"
        "def load():\n"
        "    yield np.zeros((20, 1, 8, 8), np.float32)\n"
        "    yield np.ones((20, 1, 8, 8), np.float32)\n"
        "    raise KeyboardInterrupt\n"
    )
    (tmp_path / "o.pt").write_bytes(b"old")
    given = ["--data", f"{tmp_path / 'loader.py'}:load", "-o", tmp_path / "o.pt", "--force"]
    result = cli("recalibrate", *AVERAGED, *given)
    assert (result.code, result.out) == (130, "")
    assert result.err == "normdiag: interrupted; nothing written\n"
    assert (tmp_path / "o.pt").read_bytes() == b"old" and len(list(tmp_path.glob("o.pt*"))) == 1


def test_a_folder_for_each_class_gives_the_accuracy(cli: Cli, tmp_path: Path) -> None:
    from PIL import Image

    data = np.load(SAMPLES / "digits.npz")
    for index, (image, label) in enumerate(zip(data["x"], data["y"], strict=True)):
        (tmp_path / f"val/{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(tmp_path / f"val/{label}/{index}.png")
    result = cli("recalibrate", *AVERAGED, "--data", TRAIN, "--eval-data", tmp_path / "val", "--dry-run", "--json")
    assert json.loads(result.out)["effect"]["accuracy"] == pytest.approx([0.8496, 0.9916], abs=2e-3)
