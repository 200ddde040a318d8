"""The digits CNN of the sample models as it was trained, and its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sample_models.net import DigitsCNN

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"


def digits_cnn(name: str = "digits_cnn") -> DigitsCNN:
    """With the weights of a file of the sample models, in eval mode."""
    net = DigitsCNN()
    net.load_state_dict(torch.load(SAMPLES / f"{name}.pt", weights_only=True))
    return net.eval()


def digits(name: str = "digits") -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, 8, 8) as it was trained on them, float32 in [0, 1], and what they show (N,)."""
    with np.load(SAMPLES / f"{name}.npz") as data:
        return data["x"].astype(np.float32) / 255, data["y"]
