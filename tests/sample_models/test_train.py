"""The training script writes every sample, and the same weights each time."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from sample_models import digits, fit, net, train
from sample_models.catalogue import SAMPLES


def assert_same_weights(path: Path, module: torch.nn.Module) -> None:
    first, second = torch.load(path, weights_only=True), module.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first), path.name


@pytest.mark.exports
def test_every_file_is_written_and_a_second_run_gives_the_same_weights(tmp_path: Path) -> None:
    train.write_all(tmp_path, train.QUICK)

    expected = {row.file for row in SAMPLES} | {digits.VALIDATION, digits.TRAINING}
    for full, quick in zip(train.Plan().mlp_steps, train.QUICK.mlp_steps, strict=True):
        expected = {name.replace(f"_{full:04d}.", f"_{quick:04d}.") for name in expected}
    assert {path.name for path in tmp_path.iterdir()} == expected

    split = digits.load(tmp_path / digits.TRAINING)
    cnn, transformer = net.DigitsCNN, partial(net.DigitsTransformer, "rms")
    assert_same_weights(tmp_path / "digits_cnn.pt", fit.fit(cnn, split, epochs=1, lr=0.01))
    assert_same_weights(tmp_path / "digits_transformer_rms.pt", fit.fit(transformer, split, epochs=1, lr=0.003))
    assert_same_weights(tmp_path / "digits_cnn_averaged.pt", fit.fit_averaged(cnn, split, epochs=1, first=0)[0])
    for steps, module in zip((1, 2, 3), fit.fit_mlp(net.DigitsMLP("batch"), split, (1, 2, 3)), strict=True):
        assert_same_weights(tmp_path / f"digits_mlp_batch_{steps:04d}.pt", module)
