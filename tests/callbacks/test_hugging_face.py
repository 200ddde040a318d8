"""The callback in the Trainer of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.callbacks.loops import images

pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="the Trainer needs accelerate: pip install accelerate")
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    ResNetConfig,
    ResNetForImageClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

from normdiag.callbacks import HuggingFaceCallback


class Images(torch.utils.data.Dataset[dict[str, Any]]):
    """Noisy at every reading, so that a reading too many would show in the random numbers."""

    def __len__(self) -> int:
        return 96

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = nn.functional.interpolate(images()[index : index + 1], size=32)[0]
        return {"pixel_values": image + 0.01 * torch.randn_like(image), "labels": index % 3}


class Words(torch.utils.data.Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Any]:
        words = torch.randint(50, (6,), generator=torch.Generator().manual_seed(index))
        return {"input_ids": words, "attention_mask": torch.ones(6, dtype=torch.long), "labels": index % 2}


def resnet() -> nn.Module:
    config = ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", num_labels=3
    )
    return ResNetForImageClassification(config)


def bert() -> nn.Module:
    return BertForSequenceClassification(
        BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    )


def trainer_of(make: Any, data: Any, folder: Path, **options: Any) -> Trainer:
    set_seed(0)
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=2,
        per_device_train_batch_size=16,
        report_to=[],
        logging_steps=2,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        **options,
    )
    trainer = Trainer(make(), arguments, train_dataset=data)
    trainer.remove_callback(PrinterCallback)
    return trainer


def logged(trainer: Trainer, name: str) -> list[int]:
    return [entry["step"] for entry in trainer.state.log_history if name in entry]


@pytest.mark.parametrize(
    ("make", "data", "figure"),
    [(resnet, Images(), "normdiag/drift"), (bert, Words(), "normdiag/outliers")],
    ids=["resnet", "bert"],
)
def test_the_training_is_bit_identical_and_logged(make: Any, data: Any, figure: str, tmp_path: Path) -> None:
    plain = trainer_of(make, data, tmp_path)
    plain.train()
    expected = torch.rand(3)
    watched = trainer_of(make, data, tmp_path)
    callback = HuggingFaceCallback(watched, every_n_steps=4, samples=48, max_share=None)
    watched.add_callback(callback)
    watched.train()
    assert torch.equal(torch.rand(3), expected)
    pairs = zip(plain.model.state_dict().values(), watched.model.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    steps = watched.state.global_step
    assert logged(watched, figure) == sorted({*range(4, steps + 1, 4), steps})
    assert logged(watched, "loss") == logged(plain, "loss"), "the Trainer's own figures are logged as without it"
    assert callback.watch.held.size == 48


def test_it_stops_on_nan_and_names_the_layer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = trainer_of(resnet, Images(), tmp_path)
    trainer.add_callback(HuggingFaceCallback(trainer, samples=16))
    with torch.no_grad():
        next(trainer.model.parameters())[0, 0, 0, 0] = float("inf")
    trainer.train()
    assert trainer.state.global_step == 1
    assert "resnet.embedder.embedder.normalization first" in caplog.text


def test_a_stream_asks_for_batches(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Stream(torch.utils.data.IterableDataset[dict[str, Any]]):
        def __iter__(self) -> Any:
            return (Images()[index] for index in range(96))

    trainer = trainer_of(resnet, Stream(), tmp_path, max_steps=4)
    trainer.add_callback(HuggingFaceCallback(trainer))
    trainer.train()
    assert "cannot be read by index" in caplog.text
    given = trainer_of(resnet, Stream(), tmp_path, max_steps=4)
    callback = HuggingFaceCallback(given, [nn.functional.interpolate(images()[:32], size=32)], max_share=None)
    given.add_callback(callback)
    given.train()
    assert callback.watch.last is not None
