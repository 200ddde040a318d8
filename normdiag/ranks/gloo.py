"""Values passed between processes by torch.distributed, over the network or the loopback."""

from __future__ import annotations

import atexit
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from normdiag.errors import InputError

T = TypeVar("T")
# How long one process may take longer than another, and how long to wait for all to start.
PATIENCE, START = timedelta(hours=2), timedelta(minutes=2)


class GlooRanks:
    """Satisfies normdiag.ranks.group.Ranks. Sums go up a binary tree to process 0, and down again from there.

    That is one message from each process and log2(size) rounds, with the memory of two values. What is sent are objects
    of this program, pickled: the processes trust each other as those of any torch job do.
    """

    def __init__(self, size: int) -> None:
        """Joins the processes of torch.distributed that are there, or waits until all of `size` have started.

        Raises InputError where they do not.
        """
        if not dist.is_initialized():
            with _explained(f"waited {START.seconds} s for {size} processes; start all of them, as torchrun does"):
                dist.init_process_group("gloo", timeout=START)
            atexit.register(_leave)
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def combined(self, value: T, add: Callable[[T, T], T]) -> T:
        """What `add` makes of the values of all processes."""
        with _explained("another process of the group has ended, so that the sums of all are not to be had"):
            step = 1
            while step < self.size and not self.rank & step:
                if self.rank + step < self.size:
                    value = add(value, self._receive(self.rank + step))
                step *= 2
            if self.rank:
                self._send(value, self.rank - step)
            result = self._from_first(value)
            dist.barrier(self._group)  # who ends before all have read takes the connection with it
            return result

    def _send(self, value: Any, to: int) -> None:
        data = _packed(value)
        dist.send(torch.tensor([len(data)]), to, group=self._group)
        dist.send(data, to, group=self._group)

    def _receive(self, source: int) -> Any:
        size = torch.zeros(1, dtype=torch.int64)
        dist.recv(size, source, group=self._group)
        data = torch.empty(int(size), dtype=torch.uint8)
        dist.recv(data, source, group=self._group)
        return pickle.loads(data.numpy().tobytes())

    def _from_first(self, value: T) -> T:
        data = _packed(value) if self.rank == 0 else torch.empty(0, dtype=torch.uint8)
        size = torch.tensor([len(data)])
        dist.broadcast(size, 0, group=self._group)
        if self.rank:
            data = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(data, 0, group=self._group)
        result: T = pickle.loads(data.numpy().tobytes())
        return result


def _leave() -> None:
    """Before the interpreter goes, or the threads of the group abort it."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _packed(value: Any) -> torch.Tensor:
    return torch.frombuffer(bytearray(pickle.dumps(value, protocol=5)), dtype=torch.uint8)


@contextmanager
def _explained(reason: str) -> Iterator[None]:
    """What torch raises for processes that are gone or late is one kind of error for everything."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{reason} ({' '.join(str(error).split())[:200]})") from None
