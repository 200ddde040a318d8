"""`Watch`: a look at a model every so many steps, for any training loop."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from normdiag.callbacks.held import HeldBatches
from normdiag.callbacks.lag import lag
from normdiag.callbacks.look import figures, look
from normdiag.callbacks.non_finite import NonFiniteError, NonFiniteWatch
from normdiag.errors import NormdiagError, UsageError
from normdiag.results.inspection import Inspection

Log = Callable[[Mapping[str, float], int], object]
EVERY, SAMPLES, SHARE = 1000, 128, 0.01


class Watch:
    """Looks at a model every `every_n_steps` steps, on the same held batches, and leaves it bit-identical.

    `batches` is anything that `normdiag.inspect` takes, of what the model is trained on: up to `samples` samples are
    copied once. Without it, batches are held that are offered. `log(figures, step)` gets the figures of each look by
    name, as drift, gap and saturation; `warn(text)` is called once for each reason why the statistics lag the weights.
    `last` is the report of the last look. A look that is due waits where looks have taken more than `max_share` of the
    time so far; None never waits.

    >>> import torch
    >>> from normdiag.callbacks import Watch
    >>> from sample_models.net import DigitsCNN
    >>> net, images = DigitsCNN(), torch.rand(64, 1, 8, 8)
    >>> optimizer = torch.optim.SGD(net.parameters(), 0.1)
    >>> watch = Watch(images, every_n_steps=2, max_share=None, log=lambda figures, step: print(step, *figures))
    >>> for step in range(1, 4):
    ...     _ = optimizer.zero_grad(), net(images).square().mean().backward(), optimizer.step()
    ...     watch(net, step)
    2 normdiag/drift normdiag/drift_median normdiag/local_drift normdiag/gap normdiag/answers normdiag/saturated ...
    >>> watch.last
    <Inspection: ...>
    """

    def __init__(
        self,
        batches: Iterable[Any] | None = None,
        *,
        every_n_steps: int = EVERY,
        samples: int = SAMPLES,
        log: Log | None = None,
        warn: Callable[[str], object] | None = None,
        max_share: float | None = SHARE,
    ) -> None:
        """Hold the batches. Raises UsageError for an interval or a number below 1, InputError for unusable batches."""
        if every_n_steps < 1 or samples < 1:
            raise UsageError(f"every_n_steps={every_n_steps}, samples={samples}: both must be at least 1")
        self.every_n_steps, self.samples, self.max_share = every_n_steps, samples, max_share
        self.held = HeldBatches(samples, batches)
        self.last: Inspection | None = None
        self.spent = 0.0
        self._log, self._warn = log or _nowhere, warn or _as_warning
        self._started: float | None = None
        self._step: int | None = None
        self._weights: list[float] = []
        self._non_finite: tuple[int, NonFiniteWatch] | None = None
        self._told: set[str] = set()

    def __call__(self, model: nn.Module, step: int) -> None:
        """After each step of the optimizer, with the number of steps so far: look if it is time to.

        Raises NonFiniteError as soon as a normalization layer holds values that are not finite, with its name.
        """
        self.check_finite(model, step)
        due = step > 0 and step % self.every_n_steps == 0 and step != self._step
        if due and self._affordable():
            self.look(model, step)

    def check_finite(self, model: nn.Module, step: int) -> None:
        """Raise NonFiniteError where the model is known to be beyond repair, with the layer and the step."""
        self._started = self._started or time.perf_counter()
        if self._non_finite is None or self._non_finite[0] != id(model):
            self._non_finite = (id(model), NonFiniteWatch(model))
        found = self._non_finite[1].see(step)
        if found is not None:
            raise NonFiniteError(found)

    def look(self, model: nn.Module, step: int) -> Inspection | None:
        """Look now, log and warn. None where the model does not run on the held batches, which is said once.

        Raises NonFiniteError as a call does.
        """
        begun = time.perf_counter()
        self._step = step
        found = self._non_finite[1].found() if self._non_finite is not None else None
        if found is not None:
            raise NonFiniteError(found)
        if not self.held.batches:
            self._tell("no batches are held, so there is nothing to look at the model with", step)
            return None
        try:
            report = look(model, self.held.batches, self.samples)
        except NormdiagError as error:
            self._tell(f"the model was not looked at: {error}", step)
            return None
        self._log(figures(report), step)
        weights = _fingerprint(model)
        averaged = any(isinstance(each, AveragedModel) for each in model.modules())
        moved = weights != self._weights
        why = None if self.last is None else lag(self.last, report, moved=moved, averaged=averaged)
        if why is not None:
            self._tell(why, step)
        self.last, self._weights = report, weights
        self.spent += time.perf_counter() - begun
        return report

    def at_end(self, model: nn.Module, step: int) -> None:
        """After the last step: look, unless that was done at this very step."""
        if step != self._step:
            self.look(model, step)

    def _affordable(self) -> bool:
        if self.max_share is None or self._started is None:
            return True
        return self.spent <= self.max_share * (time.perf_counter() - self._started)

    def _tell(self, text: str, step: int) -> None:
        """Once for each reason, whatever its figures."""
        reason = text.partition(":")[0]
        if reason not in self._told:
            self._told.add(reason)
            self._warn(f"step {step}: {text}")


def _fingerprint(model: nn.Module) -> list[float]:
    """Of the weights: a number for each parameter."""
    with torch.no_grad():
        return [float(each.double().sum()) for each in model.parameters() if each.is_floating_point()]


def _as_warning(text: str) -> None:
    warnings.warn(f"normdiag: {text}", stacklevel=2)


def _nowhere(values: Mapping[str, float], step: int) -> None:
    """Where no logger is given."""
