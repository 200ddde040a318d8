"""The callback for Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn

from normdiag.callbacks.non_finite import NonFiniteError
from normdiag.callbacks.watch import EVERY, SAMPLES, SHARE, Watch
from normdiag.errors import InputError, UsageError

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.utilities import rank_zero_warn
except ImportError:
    try:
        from pytorch_lightning import Callback, LightningModule, Trainer
        from pytorch_lightning.utilities import rank_zero_warn
    except ImportError:
        raise UsageError(
            "LightningCallback needs Lightning, which is not installed: pip install 'normdiag[lightning]'"
        ) from None

# Strategies under which one process holds a part of the model only.
SHARDED = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy")


class LightningCallback(Callback):
    """Looks at the model every `every_n_steps` steps and at the end, on batches of the training held from its start.

    The figures (`normdiag/drift`, `normdiag/gap`, ...) go to every logger of the Trainer and into its callback_metrics,
    where other callbacks can monitor them. It warns where the running statistics lag the weights, and stops the
    training where a normalization layer holds values that are not finite, with its name. The training is bit-identical
    to one without it.

    `batches` are held in place of those that come by first; `samples` of them at most. `select` gives the part of the
    LightningModule to look at, which must take the first element of a batch: `lambda module: module.ema`. `max_share`
    is as for `Watch`. `watch.last` is the report of the last look.

    >>> from lightning.pytorch import Trainer                   # doctest: +SKIP
    >>> from normdiag.callbacks import LightningCallback        # doctest: +SKIP
    >>> trainer = Trainer(callbacks=[LightningCallback()])      # doctest: +SKIP
    """

    def __init__(
        self,
        batches: Iterable[Any] | None = None,
        *,
        every_n_steps: int = EVERY,
        samples: int = SAMPLES,
        select: Callable[[Any], nn.Module] | None = None,
        max_share: float | None = SHARE,
    ) -> None:
        """Nothing is run or held yet, but `batches`."""
        self.watch = Watch(
            batches, every_n_steps=every_n_steps, samples=samples, warn=_warn, log=self._log, max_share=max_share
        )
        self._select = select or _whole
        self._values: Mapping[str, float] = {}
        self._loggers: list[Any] = []
        self._unusable = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See where the figures go."""
        self._loggers = list(trainer.loggers)
        if _is_sharded(trainer):
            _warn(f"the model is not looked at: under {type(trainer.strategy).__name__} no process holds all of it")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Hold the first batches, as the training sees them."""
        if not _is_looking(trainer) or self.watch.held.full or self._unusable:
            return
        try:
            self.watch.held.offer(batch)
        except InputError as error:
            self._unusable = True
            _warn(f"{error}; give batches=")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look if it is time to."""
        if not _is_looking(trainer):
            return
        self._values = {}
        try:
            self.watch(self._select(pl_module), trainer.global_step)
        except NonFiniteError as error:
            _stop(trainer, error)
        if self._values:
            pl_module.log_dict(dict(self._values), logger=False, on_step=True, on_epoch=False, rank_zero_only=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what came of it."""
        if not _is_looking(trainer):
            return
        try:
            self.watch.at_end(self._select(pl_module), trainer.global_step)
        except NonFiniteError as error:
            _stop(trainer, error)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        self._values = values
        for logger in self._loggers:
            logger.log_metrics(dict(values), step=step)


def _is_looking(trainer: Trainer) -> bool:
    return bool(trainer.is_global_zero) and not trainer.sanity_checking and not _is_sharded(trainer)


def _is_sharded(trainer: Trainer) -> bool:
    return any(base.__name__ in SHARDED for base in type(trainer.strategy).__mro__)


def _stop(trainer: Trainer, error: NonFiniteError) -> None:
    if not trainer.should_stop:
        _warn(f"the training is stopped. {error}")
    trainer.should_stop = True


def _warn(text: str) -> None:
    rank_zero_warn(f"normdiag: {text}")


def _whole(module: nn.Module) -> nn.Module:
    return module
