"""The sample models are what their README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.optim.swa_utils import update_bn

from sample_models import catalogue, digits, net, tables
from sample_models.catalogue import SAMPLES, Sample

SIZE_LIMIT = 300_000  # bytes
TWO_IMAGES = 0.6  # percentage points: what another processor's rounding may turn
MODEL_SUFFIXES = {".pt", ".pt2", ".onnx"}
CNN_FORMATS = (
    "digits_cnn_module.pt",
    "digits_cnn.pt2",
    "digits_cnn.torchscript.pt",
    "digits_cnn.onnx",
    "digits_cnn_folded.onnx",
)
ONNX_PAIRS = (
    ("digits_cnn_group.onnx", "digits_cnn_group.pt"),
    ("digits_cnn_instance.onnx", "digits_cnn_instance.pt"),
    ("digits_transformer_layer.onnx", "digits_transformer_layer.pt"),
    ("digits_transformer_rms.onnx", "digits_transformer_rms.pt"),
    ("digits_mlp_none.onnx", "digits_mlp_none_5000.pt"),
    ("digits_mlp_batch.onnx", "digits_mlp_batch_5000.pt"),
)


def sample(file: str) -> Sample:
    return next(row for row in SAMPLES if row.file == file)


def readme_rows(folder: Path, marker: str) -> list[list[str]]:
    """Cells of the table rows that stand between the marker and its end."""
    block = (folder / "README.md").read_text().split(f"<!-- {marker} -->")[1].split(f"<!-- /{marker} -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()[2:]]


def logits(file: str, folder: Path) -> torch.Tensor:
    x, _ = digits.load(folder / digits.VALIDATION)
    with torch.no_grad():
        return catalogue.load(sample(file), folder)(x)


def weights(file: str, folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / file, weights_only=True)
    return state


def test_every_model_file_is_described_and_every_description_has_its_file(samples: Path) -> None:
    assert {path.name for path in samples.iterdir() if path.suffix in MODEL_SUFFIXES} == {row.file for row in SAMPLES}


def test_files_are_small(samples: Path) -> None:
    assert max(path.stat().st_size for path in samples.iterdir() if path.is_file()) < SIZE_LIMIT


def test_no_model_names_the_machine_that_wrote_it(samples: Path) -> None:
    for row in SAMPLES:
        assert b"site-packages" not in (samples / row.file).read_bytes(), row.file


def test_digits_are_those_of_scikit_learn(samples: Path, tmp_path: Path) -> None:
    digits.write(tmp_path)
    for name, count in ((digits.VALIDATION, 359), (digits.TRAINING, 1438)):
        with np.load(samples / name) as bundled, np.load(tmp_path / name) as fresh:
            assert bundled["x"].shape == (count, 1, 8, 8)
            assert (bundled["x"].dtype, bundled["x"].max()) == (np.uint8, 255)
            np.testing.assert_array_equal(bundled["x"], fresh["x"])
            np.testing.assert_array_equal(bundled["y"], fresh["y"])


@pytest.mark.parametrize("index", range(len(SAMPLES)), ids=[row.file + row.preprocess for row in SAMPLES])
def test_accuracy_and_command_are_as_claimed(samples: Path, index: int) -> None:
    row = SAMPLES[index]
    file, what, right, shows, command = readme_rows(samples, "samples")[index]
    assert (file, what, shows, command) == (row.file, row.what, row.shows, f"`{row.command}`")
    assert catalogue.accuracy(row, samples) == pytest.approx(float(right), abs=TWO_IMAGES)


def test_healthy_models_are_good_and_faults_cost_accuracy(samples: Path) -> None:
    claims = [(row, float(cells[2])) for row, cells in zip(SAMPLES, readme_rows(samples, "samples"), strict=True)]
    assert min(right for row, right in claims if row.shows == "healthy") > 95
    costly = [right for row, right in claims if "statistics" in row.shows or "scaling" in row.shows or row.batch == 1]
    assert len(costly) == 7
    assert max(costly) < 90


@pytest.mark.parametrize("file", CNN_FORMATS)
def test_all_formats_hold_the_same_model(samples: Path, file: str) -> None:
    torch.testing.assert_close(logits(file, samples), logits("digits_cnn.pt", samples), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("exported", "original"), ONNX_PAIRS)
def test_onnx_runs_as_torch_does(samples: Path, exported: str, original: str) -> None:
    torch.testing.assert_close(logits(exported, samples), logits(original, samples), rtol=1e-5, atol=1e-5)


def test_training_mode_export_runs_as_torch_in_training_mode_does(samples: Path) -> None:
    x, _ = digits.load(samples / digits.VALIDATION)
    module = catalogue.load_weights(sample("digits_cnn.pt"), samples / "digits_cnn.pt").train()
    with torch.no_grad():
        expected = module(x)
    torch.testing.assert_close(logits("digits_cnn_training.onnx", samples), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("file", "training"), [("digits_cnn.onnx", 0), ("digits_cnn_training.onnx", 1)])
def test_batch_normalization_is_visible_in_onnx(samples: Path, file: str, training: int) -> None:
    model = onnx.load(samples / file)
    onnx.checker.check_model(model, full_check=True)
    nodes = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    modes = [{field.name: field.i for field in node.attribute}.get("training_mode", 0) for node in nodes]
    assert modes == [training] * 3
    for index, node in enumerate(nodes, start=1):
        scopes = {entry.key: entry.value for entry in node.metadata_props}.get("pkg.torch.onnx.name_scopes", "")
        assert f"norm{index}" in node.name + scopes
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_averaged_weights_lack_nothing_but_their_statistics(samples: Path) -> None:
    module = catalogue.load_weights(sample("digits_cnn_averaged.pt"), samples / "digits_cnn_averaged.pt")
    validation = digits.load(samples / digits.VALIDATION)
    stale = (module(validation[0]).argmax(1) == validation[1]).float().mean()
    update_bn([digits.load(samples / digits.TRAINING)[0]], module)
    repaired = (module.eval()(validation[0]).argmax(1) == validation[1]).float().mean()
    assert stale < 0.9
    assert repaired > 0.98


def test_foreign_statistics_are_the_only_difference(samples: Path) -> None:
    healthy, foreign = weights("digits_cnn.pt", samples), weights("digits_cnn_foreign.pt", samples)
    assert healthy.keys() == foreign.keys()
    changed = {name for name in healthy if not torch.equal(healthy[name], foreign[name])}
    assert changed == {f"norm{index}.running_{part}" for index in (1, 2, 3) for part in ("mean", "var")}


def test_batch_norm_keeps_the_sigmoids_out_of_saturation(samples: Path) -> None:
    x, _ = digits.load(samples / digits.VALIDATION)
    for step in (100, 1000, 5000):
        last = {}
        for norm in ("none", "batch"):
            row = sample(f"digits_mlp_{norm}_{step:04d}.pt")
            module = catalogue.load_weights(row, samples / row.file)
            assert isinstance(module, net.DigitsMLP)
            last[norm] = catalogue.saturation(module, x)[-1]
        assert last["none"][0] > 5 * last["batch"][0]
        assert last["none"][1] < last["batch"][1]


def test_saturation_table_is_fresh(samples: Path) -> None:
    fresh = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in tables.saturation_table(samples).splitlines()
    ]
    for claimed, measured in zip(readme_rows(samples, "saturation"), fresh[2:], strict=True):
        assert claimed[:2] == measured[:2]
        for column in (3, 4):
            numbers = [np.array(cells[column].split(","), float) for cells in (claimed, measured)]
            np.testing.assert_allclose(numbers[0], numbers[1], rtol=0.01, atol=0.02)
