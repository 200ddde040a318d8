"""Which layers recalibrate touches, and that worker processes of a loader change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

import normdiag
from normdiag.recalibration.options import RecalibrateOptions
from tests.nets.digits import digits, digits_cnn

IMAGES = torch.from_numpy(digits("digits_train")[0])


def test_only_drifting_layers_are_touched_where_asked(samples: Path) -> None:
    faulty = digits_cnn()
    norms = {name: module for name, module in faulty.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    last = list(norms)[-1]
    norms[last].running_var *= 9.0
    every = normdiag.recalibrate(faulty, IMAGES, options=RecalibrateOptions())
    some = normdiag.recalibrate(faulty, IMAGES, options=RecalibrateOptions(only_drifting=True))
    assert set(every.statistics) == set(norms)
    assert set(some.statistics) == {last}


def test_worker_processes_of_a_loader_change_nothing(samples: Path) -> None:
    faulty = digits_cnn()
    for module in faulty.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
    data = TensorDataset(IMAGES)
    found = [
        normdiag.recalibrate(faulty, DataLoader(data, batch_size=64, num_workers=workers)).statistics
        for workers in (0, 2)
    ]
    assert set(found[0]) == set(found[1]) != set()
    for name, statistics in found[0].items():
        np.testing.assert_array_equal(statistics.mean, found[1][name].mean)
        np.testing.assert_array_equal(statistics.var, found[1][name].var)
