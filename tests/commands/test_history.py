"""`normdiag history`: checkpoints in order, one in memory at a time, percentiles of what enters each layer."""

from __future__ import annotations

import csv
import gc
import io
import json
import weakref
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

import normdiag
from normdiag.cli.app import run
from normdiag.commands import history as module
from normdiag.commands.checkpoints import find_checkpoints
from normdiag.errors import InputError, UsageError
from normdiag.models import LoadOptions
from normdiag.render.history_formats import history_csv
from normdiag.render.text import render_text
from normdiag.report.history import history_document
from sample_models import digits
from sample_models.net import DigitsMLP

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((REPOSITORY / "docs" / "history.schema.json").read_text())
STEPS = (100, 1000, 5000)
pytestmark = pytest.mark.exports


def perceptron(norm: str) -> LoadOptions:
    return LoadOptions(arch="sample_models/net.py:DigitsMLP", arch_args=(f"norm={norm}",))


def images(samples: Path, count: int = 64) -> np.ndarray:
    return digits.load(samples / digits.VALIDATION)[0][:count].numpy()


def test_names_say_the_order(tmp_path: Path) -> None:
    for name in ("epoch=0-step=900.ckpt", "epoch=2-step=2700.ckpt", "epoch=1-step=1800.ckpt"):
        (tmp_path / name).touch()
    assert [each.step for each in find_checkpoints([tmp_path])] == [900, 1800, 2700]
    assert [each.step for each in find_checkpoints([tmp_path], every=2)] == [900, 2700]


def test_the_last_checkpoint_is_always_taken(tmp_path: Path) -> None:
    paths = [tmp_path / f"ckpt_{step}.pt" for step in (3, 20, 100, 7)]
    assert [each.step for each in find_checkpoints(paths)] == [3, 7, 20, 100]
    assert [each.step for each in find_checkpoints(paths, every=3)] == [3, 100]
    assert [each.path.name for each in find_checkpoints([tmp_path / "b.pt", tmp_path / "a.pt"])] == ["b.pt", "a.pt"]


def test_folders_of_hugging_face_are_checkpoints(tmp_path: Path) -> None:
    for step in (1000, 500):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").touch()
        (folder / "optimizer.pt").touch()
    found = find_checkpoints([tmp_path])
    assert [(each.path.name, each.step) for each in found] == [("checkpoint-500", 500), ("checkpoint-1000", 1000)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        find_checkpoints([tmp_path / "empty"])


def test_percentiles_are_those_of_what_enters_the_sigmoids(samples: Path) -> None:
    x = images(samples)
    files = [samples / f"digits_mlp_none_{step:04d}.pt" for step in STEPS]
    report = normdiag.history(files, x, load_options=perceptron("none"))
    assert [each.step for each in report.steps] == list(STEPS)
    medians = []
    for file, step in zip(files, report.steps, strict=True):
        net = DigitsMLP("none").eval()
        net.load_state_dict(torch.load(file, weights_only=True))
        seen: list[torch.Tensor] = []
        net.hidden3.sigmoid.register_forward_pre_hook(lambda module, args, seen=seen: seen.append(args[0]))
        with torch.no_grad():
            net(torch.from_numpy(x))
        values = seen[0].double().numpy()
        point = next(each for each in step.points if each.name == "hidden3.sigmoid")
        np.testing.assert_allclose(
            (point.low, point.middle, point.high), np.percentile(values, (15, 50, 85)), rtol=1e-4, atol=1e-5
        )
        assert point.saturated == pytest.approx(np.mean(np.abs(values) > 4), abs=0.01)
        medians.append((np.median(values, 0), np.percentile(values, (15, 85), 0)))
    (before, (low, high)), (after, _) = medians[:2]
    expected = np.sqrt(np.mean((after - before) ** 2) / np.mean(((high - low) / 2) ** 2))
    found = next(each for each in report.steps[1].points if each.name == "hidden3.sigmoid").moved
    assert found == pytest.approx(expected, rel=1e-3)


def test_with_batch_norm_the_inputs_stay_where_they_are(samples: Path) -> None:
    moved = {}
    for norm in ("none", "batch"):
        files = [samples / f"digits_mlp_{norm}_{step:04d}.pt" for step in STEPS]
        report = normdiag.history(files, images(samples), load_options=perceptron(norm))
        last = [each for step in report.steps for each in step.points if each.name == "hidden3.sigmoid"]
        moved[norm] = max(each.moved or 0.0 for each in last)
        assert (report.steps[0].gap is None) == (norm == "none")
    assert moved["batch"] < 0.5
    assert moved["none"] > 10


def test_one_checkpoint_is_in_memory_at_a_time(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[Any] = []
    opened = module.open_model

    def watched(*args: Any, **options: Any) -> Any:
        gc.collect()
        assert not any(each() is not None for each in alive), "a checkpoint is still held while the next is read"
        model = opened(*args, **options)
        alive.append(weakref.ref(model.program))
        return model

    monkeypatch.setattr(module, "open_model", watched)
    files = [samples / f"digits_mlp_none_{step:04d}.pt" for step in STEPS]
    normdiag.history(files, images(samples, 16), load_options=perceptron("none"))
    assert len(alive) == 3


def test_what_machines_read(samples: Path) -> None:
    report = normdiag.history([samples / "digits_cnn.onnx"], images(samples, 32))
    jsonschema.validate(json.loads(report.to_json()), SCHEMA)
    rows = list(csv.DictReader(io.StringIO(history_csv(report))))
    assert [row["name"] for row in rows] == ["norm1", "relu1", "norm2", "relu2", "norm3", "relu3"]
    assert rows[0]["moved"] == "" and float(rows[0]["drift"]) >= 0
    text = render_text(history_document(report), width=60, color=False)
    assert "What enters relu3" in text and max(map(len, text.splitlines())) <= 60


def test_the_command_line(samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(samples / f"digits_mlp_batch_{step:04d}.pt") for step in STEPS]
    data = ["--data", str(samples / "digits.npz"), "--max-samples", "32"]
    arch = ["--arch", "sample_models/net.py:DigitsMLP", "--arch-arg", "norm=batch"]
    assert run(["history", *files, *data, *arch, "--every", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 checkpoints" in out and "What enters hidden3.sigmoid" in out
    assert run(["history", *files, *data, *arch, "--csv"]) == 0
    assert capsys.readouterr().out.startswith("step,path,gap,gradient,name")
    for wrong in ([*files, *data], files, [str(samples / "nothing.pt"), *data], [*files, *data, "--csv", "--json"]):
        assert run(["history", *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(UsageError):
        normdiag.history(files)
