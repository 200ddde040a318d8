"""Which layers recalibrate touches, and that worker processes of a loader change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import normdiag
from normdiag.recalibration.options import RecalibrateOptions
from sample_models.net import DigitsCNN


def net(samples: Path) -> DigitsCNN:
    made = DigitsCNN().eval()
    made.load_state_dict(torch.load(samples / "digits_cnn.pt", weights_only=True))
    return made


def images(samples: Path) -> torch.Tensor:
    return torch.from_numpy(np.load(samples / "digits_train.npz")["x"]).float() / 255


def test_only_drifting_layers_are_touched_where_asked(samples: Path) -> None:
    faulty = net(samples)
    norms = {name: module for name, module in faulty.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    last = list(norms)[-1]
    norms[last].running_var *= 9.0
    every = normdiag.recalibrate(faulty, images(samples), options=RecalibrateOptions())
    some = normdiag.recalibrate(faulty, images(samples), options=RecalibrateOptions(only_drifting=True))
    assert set(every.statistics) == set(norms)
    assert set(some.statistics) == {last}


def test_worker_processes_of_a_loader_change_nothing(samples: Path) -> None:
    faulty = net(samples)
    for module in faulty.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
    data = TensorDataset(images(samples))
    found = [
        normdiag.recalibrate(faulty, DataLoader(data, batch_size=64, num_workers=workers)).statistics
        for workers in (0, 2)
    ]
    assert set(found[0]) == set(found[1]) != set()
    for name, statistics in found[0].items():
        np.testing.assert_array_equal(statistics.mean, found[1][name].mean)
        np.testing.assert_array_equal(statistics.var, found[1][name].var)
