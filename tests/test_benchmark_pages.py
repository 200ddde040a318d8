"""What the benchmarks that write pages of the docs count, and as what."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.packages import Outcome, models, page, said, tried
from normdiag.records import NormLayer
from tests.nets.onnx.text import from_text

LAYER = NormLayer("n", "layer_norm", "decomposed", eps=1e-5)


def test_what_counts_as_right_wrong_and_missed() -> None:
    pytest.importorskip("torch")
    from torch import nn

    from benchmarks.conformance import ROWS, Subject, by_subject, verdict

    subject = Subject("s", nn.LayerNorm(8), ROWS, "layer_norm")
    group = NormLayer("n", "group_norm", "decomposed", groups=2, eps=1e-5)
    assert verdict(subject, [LAYER]) == "right"
    assert verdict(subject, []) == verdict(subject, [LAYER, LAYER]) == "missed"
    assert verdict(subject, [NormLayer("n", "layer_norm", "decomposed", eps=1e-3)]) == "missed"
    assert verdict(subject, [group]) == "wrong"
    named = [NormLayer(f"parts.part{i}.x", "layer_norm", "decomposed") for i in (1, 0, 10)]
    assert [[layer.name for layer in own] for own in by_subject(named, 11)][:2] == [
        ["parts.part0.x"],
        ["parts.part1.x"],
    ]
    with pytest.raises(ValueError, match="does not say"):
        by_subject([LAYER], 2)


def test_the_models_of_a_wheel_are_read_run_and_folded(tmp_path: Path) -> None:
    text = """g (float[N,4,3,3] x) => (float[N,4,3,3] y) {
        c = Conv(x, k) [bn] y = BatchNormalization(c, gamma4, beta4, mean4, var4) }"""
    onnx.save(from_text(text, k=np.ones((4, 4, 1, 1), np.float32)), tmp_path / "a.onnx")
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as archive:
        archive.write(tmp_path / "a.onnx", "some/data/a.onnx")
        archive.writestr("some/bad.onnx", "no model")
        archive.writestr("some/readme.md", "text")
    folder = tmp_path / "taken"
    folder.mkdir()
    found = [tried("some", name, path) for name, path in models(tmp_path / "some.whl", folder)]
    assert found[0] == Outcome("some", "some/data/a.onnx", "1 batch norm", "yes", "1 of 1")
    assert found[1].run == "" and "bad.onnx" not in found[1].read
    assert not list(folder.iterdir()), "no model stays"
    assert [each.folded for each in said(page(found))] == [each.folded for each in found], "a page is read again"
    assert "2 model files of 1 packages of PyPI" in page(found) and "1 are read, and 1 run" in page(found).replace(
        "\n", " "
    )
