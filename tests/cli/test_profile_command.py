"""`normdiag profile` as it is typed: written, shown, merged, and refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from normdiag.cli.app import run
from normdiag.profiles import read_profile, write_profile
from tests.conftest import REPOSITORY
from tests.profiles.profiles import profile as made_up
from tests.ranks.launch import launch

SCHEMA = json.loads((REPOSITORY / "docs" / "profile.schema.json").read_text())


@pytest.fixture
def digits(samples: Path) -> list[str]:
    return [str(samples / "digits_cnn.onnx"), "--data", str(samples / "digits.npz"), "--quiet"]


def test_it_is_written_and_shown(
    digits: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")  # no path is wrapped
    path = tmp_path / "digits.profile"
    assert run(["profile", *digits, "-o", str(path)]) == 0
    out, err = capfd.readouterr()
    assert not err and f"written     {path}" in out
    assert "359 samples" in out and "relu3" in out
    assert run(["inspect", str(path)]) == 0
    shown = capfd.readouterr().out
    assert shown == "".join(line for line in out.splitlines(keepends=True) if "written" not in line)


def test_json_follows_the_published_schema(
    digits: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "digits.profile"
    assert run(["profile", *digits, "-o", str(path), "--json", "--groups", "4", "--preprocess", "unit"]) == 0
    document = json.loads(capfd.readouterr().out)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert (document["groups"], document["data"]["samples"], document["data"]["option"]) == (4, 359, "unit")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate({**document, "extra": 1})
    assert run(["inspect", str(path), "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == document


def test_shards_are_merged(digits: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with np.load(digits[2]) as data:
        arrays = dict(data)
    for index in range(2):
        np.savez(tmp_path / f"{index}.npz", **{name: value[index::2] for name, value in arrays.items()})
        data_ = ["--data", str(tmp_path / f"{index}.npz")]
        assert run(["profile", digits[0], *data_, "-o", str(tmp_path / f"{index}.profile"), "-q"]) == 0
    assert run(["profile", *digits, "-o", str(tmp_path / "whole.profile")]) == 0
    shards = [str(tmp_path / f"{index}.profile") for index in range(2)]
    capfd.readouterr()
    assert run(["profile", *shards, "-o", str(tmp_path / "both.profile")]) == 0
    assert "359 samples" in capfd.readouterr().out
    whole, both = (read_profile(tmp_path / f"{name}.profile") for name in ("whole", "both"))
    for point, sums in whole.points.items():
        other = both.points[point].about(sums.shift)
        np.testing.assert_allclose(other.first.sum(1), sums.first.sum(1), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(other.second, sums.second, rtol=1e-5, atol=1e-4)


def test_two_processes_see_what_one_sees(digits: list[str], tmp_path: Path) -> None:
    for count in (1, 2):
        ended = launch(count, ["-m", "normdiag", "profile", *digits, "-o", str(tmp_path / f"{count}.profile")])
        assert [each.code for each in ended] == [0] * count, ended[0].err
        assert not any(each.out for each in ended[1:])
    one, two = (read_profile(tmp_path / f"{count}.profile") for count in (1, 2))
    assert one.data == two.data
    for point, sums in one.points.items():
        other = two.points[point].about(sums.shift)
        np.testing.assert_array_equal(sums.counts, other.counts)
        np.testing.assert_allclose(other.first, sums.first, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["MODEL"], "where shall the profile go? Give -o FILE"),
        (["MODEL", "-o", "OUT"], "profile measures a model on data: give it with --data"),
        (["MODEL", "--data", "random", "-o", "OUT"], "would be a reference to nothing"),
        (["MODEL", "--data", "DATA", "-o", "DATA"], "would overwrite what is read"),
        (["MODEL", "--data", "DATA", "-o", "A", "--force", "--groups", "5"], "--groups must be one of 2, 4, 8, 16"),
        (["MODEL", "--data", "DATA", "-o", "OUT", "--preprocess", "auto"], "--preprocess auto is for inspect"),
        (["MODEL", "--data", "DATA", "-o", "A"], "A exists; --force replaces it"),
        (["MODEL", "A", "-o", "OUT"], "give one model and --data, or profiles alone"),
        (["A", "A", "-o", "OUT"], "a profile is named twice"),
        (["A", "B", "-o", "OUT", "--data", "DATA"], "--data does nothing where profiles are merged"),
        (["A", "B", "-o", "A", "--force"], "would overwrite what is read"),
        (["A", "B", "-o", "OUT"], "B does not fit"),
        (["A", "-o", "none/OUT"], "does not exist"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: list[str],
    message: str,
    samples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_profile(made_up(), Path("A"))
    write_profile(made_up(points={}), Path("B"))
    names = {"MODEL": str(samples / "digits_cnn.onnx"), "DATA": str(samples / "digits.npz")}
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert run(["profile", *(names.get(each, each) for each in arguments)]) == 2
    out, err = capfd.readouterr()
    assert not out and err.count("\n") == 1 and message in err, err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("options", [["--data", "x.npz"], ["-o", "out.txt"], ["--channels", "norm1"]])
def test_inspecting_a_profile_takes_no_options_of_models(
    options: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_profile(made_up(), tmp_path / "a.profile")
    assert run(["inspect", str(tmp_path / "a.profile"), *options]) == 2
    assert "does nothing with a profile" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["inspect", "fold", "recalibrate", "check"])
def test_a_truncated_profile_is_one_line_in_every_command(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.profile"
    write_profile(made_up(), path)
    path.write_bytes(path.read_bytes()[:2000])
    output = {
        "fold": ["-o", str(tmp_path / "out.onnx")],
        "recalibrate": ["-o", str(tmp_path / "out.pt"), "--data", "random"],
    }
    assert run([command, str(path), *output.get(command, [])]) == 2
    out, err = capfd.readouterr()
    told = out if command == "check" else err
    assert "profile" in told and "Traceback" not in out + err
