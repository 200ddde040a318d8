"""The handwritten digits bundled with scikit-learn (UCI, 1797 images of 8x8), as the two small files used here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parent
VALIDATION = FOLDER / "digits.npz"
TRAINING = FOLDER / "digits_train.npz"


def write() -> None:
    """Write both files: every fifth image for validation, so that both splits hold the same writers.

    x is uint8 of shape (N, 1, 8, 8): the original grey levels 0..16 stretched to 0..255. y holds int64 labels (N,).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    held_out = np.arange(len(x)) % 5 == 4
    for path, chosen in ((VALIDATION, held_out), (TRAINING, ~held_out)):
        np.savez_compressed(path, x=x[chosen], y=bunch.target[chosen])


def load(path: Path) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8), float32 in [0, 1], and labels (N,)."""
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["x"]).float() / 255, torch.from_numpy(arrays["y"])
