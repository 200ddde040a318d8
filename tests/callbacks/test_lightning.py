"""The callback in Lightning's own Trainer."""

from __future__ import annotations

import csv
import logging
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.callbacks.loops import DrawingNet, images

pytest.importorskip("lightning", reason="Lightning is not installed: pip install lightning")
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from normdiag.callbacks import LightningCallback
from normdiag.callbacks.lightning import _is_looking

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Lit(LightningModule):
    def __init__(self, bad_step: int | None = None) -> None:
        super().__init__()
        self.net, self.bad_step = DrawingNet(), bad_step

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, index: int) -> Tensor:
        x = batch[0] + 0.01 * torch.randn_like(batch[0])
        if index == self.bad_step:
            x = x * float("nan")
        return self(x).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)


def fit(folder: Path, callbacks: list[Any], module: Lit | None = None, **options: Any) -> tuple[Lit, Trainer, Tensor]:
    seed_everything(0, verbose=False)
    module = module or Lit()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=callbacks,
        logger=CSVLogger(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    )
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images()), 16, shuffle=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, loader)
    return module, trainer, torch.rand(3)


def rows(folder: Path) -> list[dict[str, str]]:
    (found,) = folder.glob("**/metrics.csv")
    with found.open() as file:
        return [row for row in csv.DictReader(file) if row.get("normdiag/drift")]


def test_the_training_is_bit_identical_and_logged(tmp_path: Path) -> None:
    plain, _, expected = fit(tmp_path / "plain", [])
    callback = LightningCallback(every_n_steps=5, max_share=None)
    watched, trainer, drawn = fit(tmp_path / "watched", [callback])
    pairs = zip(plain.state_dict().values(), watched.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs) and torch.equal(expected, drawn)
    assert [int(row["step"]) for row in rows(tmp_path / "watched")] == [5, 10, 15, 18]
    assert "normdiag/gap" in trainer.callback_metrics and callback.watch.held.size == 64
    assert callback.watch.last is not None and callback.watch.last.layers[0].layer.name == "net.norm"


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    fit(tmp_path, [LightningCallback(every_n_steps=2, max_share=None)], accumulate_grad_batches=3)
    assert [int(row["step"]) for row in rows(tmp_path)] == [2, 4, 6]


def test_other_callbacks_can_monitor_the_figures(tmp_path: Path) -> None:
    stop = EarlyStopping("normdiag/drift", check_on_train_epoch_end=True, patience=0, stopping_threshold=1e9)
    _, trainer, _ = fit(tmp_path, [LightningCallback(every_n_steps=2, max_share=None), stop])
    assert trainer.global_step == 6, "the first epoch is below the threshold"


def test_a_model_in_parts_is_left_alone() -> None:
    class FSDPStrategy:
        pass

    class OwnStrategy(FSDPStrategy):
        pass

    def looking(strategy: Any) -> bool:
        return _is_looking(SimpleNamespace(strategy=strategy, is_global_zero=True, sanity_checking=False))

    assert looking(object()) and not looking(OwnStrategy())


def test_it_stops_on_nan_and_names_the_layer(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    module = Lit(bad_step=3)
    with pytest.warns(UserWarning, match="step 4: values that are not finite reached net.norm first"):
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=3,
            callbacks=[LightningCallback(samples=16)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(module, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images()), 16))
    assert trainer.global_step == 4


def test_a_part_of_the_module_is_looked_at(tmp_path: Path) -> None:
    def part(module: Any) -> nn.Module:
        return module.net  # type: ignore[no-any-return]

    callback = LightningCallback([images()[:32]], select=part, every_n_steps=9, max_share=None)
    fit(tmp_path, [callback])
    assert callback.watch.last is not None and callback.watch.last.layers[0].layer.name == "norm"


def test_tensorboard_gets_the_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    callback = LightningCallback(every_n_steps=9, max_share=None)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[callback],
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(Lit(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images()), 16))
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert [each.step for each in events.Scalars("normdiag/drift")] == [9, 18]
