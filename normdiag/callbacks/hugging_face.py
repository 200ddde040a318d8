"""The callback for the Trainer of Hugging Face's transformers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from normdiag.callbacks.non_finite import NonFiniteError
from normdiag.callbacks.undisturbed import undisturbed
from normdiag.callbacks.watch import EVERY, SAMPLES, SHARE, Watch
from normdiag.data.order import random_order
from normdiag.errors import UsageError

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError:
    raise UsageError(
        "HuggingFaceCallback needs transformers, which is not installed: pip install 'normdiag[transformers]'"
    ) from None

LOGGER = logging.getLogger("normdiag")


class HuggingFaceCallback(TrainerCallback):
    """Looks at the model every `every_n_steps` steps and at the end, on samples of the training data.

    The figures (`normdiag/drift`, `normdiag/gap`, ...) go where `trainer.log` sends what it gets: TensorBoard, W&B, the
    history. It warns where the running statistics lag the weights, and stops the training where a normalization layer
    holds values that are not finite, with its name. The training is bit-identical to one without it.

    `batches` are held in place of a random `samples` of the Trainer's train_dataset, which they must be where that is
    no map-style data set. `select` gives the part of the model to look at; `max_share` is as for `Watch`.
    `watch.last` is the report of the last look.

    >>> from normdiag.callbacks import HuggingFaceCallback      # doctest: +SKIP
    >>> trainer.add_callback(HuggingFaceCallback(trainer))      # doctest: +SKIP
    """

    def __init__(
        self,
        trainer: Any,
        batches: Iterable[Any] | None = None,
        *,
        every_n_steps: int = EVERY,
        samples: int = SAMPLES,
        select: Callable[[Any], nn.Module] | None = None,
        max_share: float | None = SHARE,
    ) -> None:
        """`trainer` is the one that it is added to: it alone can log. Nothing is run or held yet, but `batches`."""
        self._trainer, self._samples, self._select = trainer, samples, select or _whole
        self.watch = Watch(
            batches, every_n_steps=every_n_steps, samples=samples, warn=_warn, log=self._log, max_share=max_share
        )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hold some of the training data."""
        if _is_sharded(args):
            _warn("the model is not looked at: under FSDP and DeepSpeed no process holds all of it")
        elif state.is_world_process_zero and not self.watch.held.batches:
            self._hold(kwargs.get("train_dataloader"))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Look if it is time to."""
        return self._looked(self.watch, args, state, control, kwargs["model"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Look at what came of it."""
        return self._looked(self.watch.at_end, args, state, control, kwargs["model"])

    def _looked(
        self, look: Callable[[nn.Module, int], object], args: Any, state: Any, control: Any, model: Any
    ) -> TrainerControl:
        if not state.is_world_process_zero or _is_sharded(args):
            return control
        should_log = control.should_log  # which the Trainer's own log takes as done
        try:
            look(self._select(model), state.global_step)
        except NonFiniteError as error:
            if not control.should_training_stop:
                _warn(f"the training is stopped. {error}")
            control.should_training_stop = True
        control.should_log = should_log
        return control

    def _log(self, values: Mapping[str, float], step: int) -> None:
        self._trainer.log(dict(values))

    def _hold(self, loader: Any) -> None:
        """Some of the data set of a loader, in batches as the loader makes them, without touching its sampler."""
        data: Any = getattr(loader, "dataset", None)
        collate = getattr(loader, "collate_fn", None)
        if collate is None or not hasattr(data, "__getitem__") or not hasattr(data, "__len__"):
            _warn("the training data cannot be read by index: give HuggingFaceCallback(trainer, batches)")
            return
        size = getattr(loader, "batch_size", None) or self._trainer.args.train_batch_size
        with undisturbed():
            chosen = random_order(len(data), 0)[: self._samples]
            for start in range(0, len(chosen), size):
                if self.watch.held.full:
                    break
                self.watch.held.offer(collate([data[int(index)] for index in chosen[start : start + size]]))


def _is_sharded(args: TrainingArguments) -> bool:
    return bool(getattr(args, "fsdp", None)) or bool(getattr(args, "deepspeed", None))


def _warn(text: str) -> None:
    LOGGER.warning("normdiag: %s", text)


def _whole(model: nn.Module) -> nn.Module:
    return model
