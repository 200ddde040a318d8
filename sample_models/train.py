"""Train and write every sample model: `python -m sample_models.train`, about two minutes on one core.

Deterministic on one machine and torch version; elsewhere the last digits of the weights may differ.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from sample_models import digits, export, fit, net, tables


@dataclass(frozen=True)
class Plan:
    """How long to train."""

    cnn_epochs: int = 20
    transformer_epochs: int = 40
    first_averaged: int = 5
    frozen_epochs: int = 8
    mlp_steps: tuple[int, ...] = (100, 1000, 5000)


# Enough to see that every file is written and that a second run gives the same weights.
QUICK = Plan(cnn_epochs=1, transformer_epochs=1, first_averaged=0, frozen_epochs=1, mlp_steps=(1, 2, 3))


def write_all(folder: Path, plan: Plan) -> None:
    """Train everything and write it into the folder."""
    torch.set_num_threads(1)
    digits.write(folder)
    split = digits.load(folder / digits.TRAINING)
    write_batch_norm(folder, split, plan)
    write_faults(folder, split, plan)
    write_other_norms(folder, split, plan)
    write_perceptrons(folder, split, plan)


def write_batch_norm(folder: Path, split: fit.Split, plan: Plan) -> None:
    """The healthy CNN in all five formats, its export in training mode, and the default one, which has no norms."""
    model = fit.fit(net.DigitsCNN, split, epochs=plan.cnn_epochs, lr=0.01)
    torch.save(model.state_dict(), folder / "digits_cnn.pt")
    torch.save(model, folder / "digits_cnn_module.pt")
    export.to_export(model, folder / "digits_cnn.pt2")
    export.to_torchscript(model, folder / "digits_cnn.torchscript.pt")
    export.to_onnx(model, folder / "digits_cnn.onnx")
    export.to_onnx_folded(model, folder / "digits_cnn_folded.onnx")
    export.to_onnx_training(model, folder / "digits_cnn_training.onnx")


def write_faults(folder: Path, split: fit.Split, plan: Plan) -> None:
    """The CNN with averaged weights and the last epoch's statistics, with another seed's statistics, and fine-tuned."""
    stale, _ = fit.fit_averaged(net.DigitsCNN, split, epochs=plan.cnn_epochs, first=plan.first_averaged)
    torch.save(stale.state_dict(), folder / "digits_cnn_averaged.pt")
    other = fit.fit(net.DigitsCNN, split, epochs=plan.cnn_epochs, lr=0.01, seed=1)
    healthy = torch.load(folder / "digits_cnn.pt", weights_only=True)
    torch.save(fit.with_statistics(healthy, other.state_dict()), folder / "digits_cnn_foreign.pt")
    tuned = net.DigitsCNN()
    tuned.load_state_dict(healthy)
    signed = digits.load(folder / digits.TRAINING, "signed")
    fit.fit_frozen(tuned, signed, epochs=plan.frozen_epochs)
    torch.save(tuned.state_dict(), folder / "digits_cnn_frozen.pt")


def write_other_norms(folder: Path, split: fit.Split, plan: Plan) -> None:
    """GroupNorm and InstanceNorm in the CNN, LayerNorm and RMSNorm in the transformer."""
    for norm in ("group", "instance", "instance_stats"):
        model = fit.fit(partial(net.DigitsCNN, norm), split, epochs=plan.cnn_epochs, lr=0.01)
        write_pair(model, folder / f"digits_cnn_{norm}", onnx=norm != "instance_stats")
    for norm in ("layer", "rms"):
        model = fit.fit(partial(net.DigitsTransformer, norm), split, epochs=plan.transformer_epochs, lr=0.003)
        write_pair(model, folder / f"digits_transformer_{norm}")


def write_perceptrons(folder: Path, split: fit.Split, plan: Plan) -> None:
    """The sigmoid net without and with BatchNorm, at several steps; the last one as ONNX too."""
    for norm in ("none", "batch"):
        model = net.DigitsMLP(norm)
        for steps, trained in zip(plan.mlp_steps, fit.fit_mlp(model, split, plan.mlp_steps), strict=True):
            torch.save(trained.state_dict(), folder / f"digits_mlp_{norm}_{steps:04d}.pt")
        export.to_onnx(model, folder / f"digits_mlp_{norm}.onnx")


def write_pair(model: nn.Module, stem: Path, onnx: bool = True) -> None:
    """A state dict and, if asked for, an .onnx file."""
    torch.save(model.state_dict(), stem.with_suffix(".pt"))
    if onnx:
        export.to_onnx(model, stem.with_suffix(".onnx"))


def main() -> None:
    """Write the models, then the measured tables of the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables-only", action="store_true", help="measure the files that are there")
    if not parser.parse_args().tables_only:
        write_all(digits.FOLDER, Plan())
    tables.write(digits.FOLDER)


if __name__ == "__main__":
    main()
