"""Several processes as one: the same statistics as one alone, and one end for all where one of them fails."""

from __future__ import annotations

import json
import re
import time
from operator import add
from pathlib import Path

import pytest
import torch

from normdiag.errors import InputError
from normdiag.ranks import ALONE, merged, started, together
from normdiag.ranks.group import Ranks
from tests.ranks.launch import ROOT, launch

SAMPLES = ROOT / "sample_models"
COMMAND = ["-m", "normdiag", "recalibrate", str(SAMPLES / "digits_cnn_averaged.pt")]
COMMAND += ["--arch", f"{SAMPLES / 'net.py'}:DigitsCNN", "--json", "--quiet"]
LOADER = """
import os, sys, numpy as np
def load():
    x = np.random.default_rng(int(os.environ["RANK"])).random((40, 1, 8, 8)).astype(np.float32)
    yield x
    if os.environ["RANK"] == "1":
        {fate}
    yield x
"""


def recalibrate(count: int, data: str, out: Path, *more: str) -> tuple[dict, dict[str, torch.Tensor]]:
    ended = launch(count, [*COMMAND, "--data", data, "-o", str(out), *more])
    assert [each.code for each in ended] == [0] * count, ended[0].err
    assert not any(each.out for each in ended[1:])
    return json.loads(ended[0].out), torch.load(out)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_find_what_one_finds(tmp_path: Path, count: int) -> None:
    data = str(SAMPLES / "digits_train.npz")
    alone, expected = recalibrate(1, data, tmp_path / "1.pt")
    report, found = recalibrate(count, data, tmp_path / f"{count}.pt")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-7)
    assert (report["samples"], report["held_out"]) == (alone["samples"], alone["held_out"])
    assert report["effect"]["newly"] == alone["effect"]["newly"]


@pytest.mark.slow
def test_uneven_shares_and_processes_without_any(tmp_path: Path) -> None:
    """150 samples in batches of 64 are two batches and a short one: two of four processes have one, one the rest."""
    data, more = str(SAMPLES / "digits_train.npz"), ("--max-samples", "150", "--method", "sequential")
    _, expected = recalibrate(1, data, tmp_path / "1.pt", *more)
    report, found = recalibrate(4, data, tmp_path / "4.pt", *more)
    assert report["samples"] + report["held_out"] == 150
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("fate", "message"),
    [
        ("raise ValueError('no more')", "process 1 of 2: .*no more"),
        ("os._exit(9)", "another process of the group has ended"),
    ],
)
def test_one_that_fails_ends_the_others(tmp_path: Path, fate: str, message: str) -> None:
    (tmp_path / "loader.py").write_text(LOADER.format(fate=fate))
    started_at = time.monotonic()
    ended = launch(2, [*COMMAND, "--data", f"{tmp_path / 'loader.py'}:load", "-o", str(tmp_path / "out.pt")])
    assert time.monotonic() - started_at < 60
    assert ended[0].code == 2 and not (tmp_path / "out.pt").exists()
    assert re.search(message, ended[0].err)
    assert ended[0].err.count("\n") == 1 and "Traceback" not in ended[0].err


def test_inspect_sees_all_shares() -> None:
    arguments = ["-m", "normdiag", "inspect", str(SAMPLES / "digits_cnn.onnx"), "--json", "--quiet"]
    arguments += ["--data", str(SAMPLES / "digits.npz"), "--batch-size", "64"]
    (one,), many = launch(1, arguments), launch(2, arguments)
    assert not many[1].out
    alone, together_ = json.loads(one.out), json.loads(many[0].out)
    assert together_["data"]["samples"] == alone["data"]["samples"] == 359
    for layer, expected in zip(together_["layers"], alone["layers"], strict=True):
        assert layer["drift"]["rms"] == pytest.approx(expected["drift"]["rms"], rel=1e-6)


class Fake:
    """Two processes of which the other's values are known."""

    rank, size = 0, 2

    def __init__(self, other: object) -> None:
        self.other = other

    def combined(self, value, add):  # type: ignore[no-untyped-def]
        return add(value, self.other)


def test_values_are_added_in_order_and_the_first_failure_is_told() -> None:
    from normdiag.ranks.group import _Attempt

    assert together(ALONE, lambda: "a", add) == "a"
    other: Ranks = Fake(_Attempt("b"))
    assert together(other, lambda: "a", add) == "ab"
    with pytest.raises(InputError, match="process 0 of 2: no such file"):
        together(other, lambda: (_ for _ in ()).throw(InputError("no such file")), add)
    with pytest.raises(InputError, match="process 1 of 2: lost"):
        together(Fake(_Attempt(failure="process 1 of 2: lost")), lambda: "a", add)
    assert merged({"a": 1, "b": 2}, {"b": 3, "c": 4}) == {"a": 1, "b": 5, "c": 4}


def test_one_process_is_alone() -> None:
    assert started({}) is ALONE and started({"WORLD_SIZE": "1", "RANK": "0"}) is ALONE
    with pytest.raises(InputError, match="torchrun"):
        started({"WORLD_SIZE": "two", "RANK": "0"})
