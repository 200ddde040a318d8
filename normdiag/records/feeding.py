"""What an ONNX model takes beside samples on the first axis: other axes, constants, and states of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
# Names of inputs that hold what a model has kept of the samples before: h, c0, state, past_key_values.2.key.
_STATE = re.compile(r"(?:^|[._/-])[hc]_?[0-9]*$|state|hidden|cache|past|memory", re.IGNORECASE)


def carries_state(names: Sequence[str]) -> str | None:
    """The first of several inputs whose name says that it carries state from sample to sample; None without one."""
    return next((name for name in names if len(names) > 1 and _STATE.search(name)), None)


@dataclass(frozen=True)
class StateInput:
    """An input that holds what the model keeps of the samples before; zeros at the beginning.

    `output` is what comes out of it for the next sample; None where nobody says: then it is zeros for every sample.
    `shape` has None for the free sizes but that of the samples, which lie on `axis`; None where no axis has them.
    """

    name: str
    output: str | None
    dtype: str
    shape: tuple[int | None, ...]
    axis: int | None


@dataclass(frozen=True, eq=False)
class Feeding:
    """`axes` of the samples by input, where they are not the first; `constants` by input; `states`.

    `whole` are inputs without samples that only code gives, batch by batch.
    """

    axes: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, Array] = field(default_factory=dict)
    states: tuple[StateInput, ...] = ()
    whole: tuple[str, ...] = ()

    @property
    def fed_back(self) -> tuple[StateInput, ...]:
        """The states of which it is known what comes out of them."""
        return tuple(state for state in self.states if state.output is not None)

    @property
    def others(self) -> tuple[str, ...]:
        """The inputs that the data need not give."""
        return (*self.constants, *(state.name for state in self.states), *self.whole)

    def axis(self, name: str) -> int | None:
        """Where an input has its samples; None where it has none."""
        state = next((each for each in self.states if each.name == name), None)
        if state is not None:
            return state.axis
        return None if name in (*self.constants, *self.whole) else self.axes.get(name, 0)
