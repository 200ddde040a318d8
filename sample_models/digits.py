"""The handwritten digits bundled with scikit-learn (UCI, 1797 images of 8x8), as the two small files used here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parent
VALIDATION = "digits.npz"
TRAINING = "digits_train.npz"


def write(folder: Path) -> None:
    """Write both files: every fifth image for validation, so that both splits hold the same writers.

    x is uint8 of shape (N, 1, 8, 8): the original grey levels 0..16 stretched to 0..255. y holds int64 labels (N,).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    held_out = np.arange(len(x)) % 5 == 4
    for name, chosen in ((VALIDATION, held_out), (TRAINING, ~held_out)):
        np.savez_compressed(folder / name, x=x[chosen], y=bunch.target[chosen])


def load(path: Path, preprocess: str = "unit") -> tuple[Tensor, Tensor]:
    """Images (N, 1, 8, 8), float32, and labels (N,).

    `preprocess` is unit ([0, 1], what the models were trained on), signed ([-1, 1]) or raw (0..255).
    """
    scale, shift = {"unit": (1 / 255, 0.0), "signed": (2 / 255, -1.0), "raw": (1.0, 0.0)}[preprocess]
    with np.load(path) as arrays:
        return torch.from_numpy(arrays["x"]).float() * scale + shift, torch.from_numpy(arrays["y"])
