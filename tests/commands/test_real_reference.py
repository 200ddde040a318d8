"""A published face detector and its simplified export, made by others: names, norms and outputs differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import normdiag
from normdiag import DataOptions
from normdiag.rules.nd309_reference import reference_drift

IN_ORDER = DataOptions(batch_size=4, shuffled=False)


@pytest.fixture(scope="module")
def images(real: Callable[[str], Path]) -> np.ndarray:
    with np.load(real("cifar10/train_1000.npz")) as data:
        small = data["x"][:8]
    large = np.stack([np.asarray(Image.fromarray(each).resize((320, 240))) for each in small])
    return (large.transpose(0, 3, 1, 2).astype(np.float32) - 127) / 128


def inspected(path: Path, images: np.ndarray, reference: object = None) -> normdiag.Report:
    """Of data that can be read once only, so that no other preparation of it is tried."""
    batches = iter([images[:4], images[4:]])
    return normdiag.inspect(path, batches, reference=reference, rules=[reference_drift])  # type: ignore[arg-type]


def test_all_but_the_output_that_is_another_agrees(real: Callable[[str], Path], images: np.ndarray) -> None:
    reference = normdiag.profile(real("ultraface/version-slim-320.onnx"), images, data_options=IN_ORDER)
    report = inspected(real("ultraface/version-slim-320_simplified.onnx"), images, reference)
    found = report.reference
    assert found is not None and not found.unmatched and len(found.at("activation")) == 34
    assert [each.kind for each in found.missing] == ["batch_norm"] * 25
    assert {each.point.name for each in found.points if each.drift.rms > 1e-4} == {"boxes"}
    (finding,) = report.findings
    assert finding.layers == ("boxes",) and "compare the last layers" in finding.remedy


def test_its_norms_are_found_again_in_the_published_weights(real: Callable[[str], Path], images: np.ndarray) -> None:
    simplified, weights = (real(f"ultraface/version-slim-320{end}") for end in ("_simplified.onnx", ".pth"))
    report = inspected(simplified, images, weights)
    whole = inspected(real("ultraface/version-slim-320.onnx"), images)
    assert not report.folded and len(report.layers) == 25 == len(whole.layers)
    for each, other in zip(report.layers, whole.layers, strict=True):
        assert each.layer.name == other.layer.name and each.drift is not None and other.drift is not None
        assert each.drift.rms == pytest.approx(other.drift.rms, rel=5e-3)
