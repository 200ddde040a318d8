"""How long one run takes before and after, measured in turns so that both meet the same weather."""

from __future__ import annotations

import time

import numpy as np

from normdiag.folding.backend import Evaluator
from normdiag.records import Batch, Latency

ROUNDS = 15
SECONDS = 1.5
# A round of a fast model is several runs: the threads of the other one may still be spinning in the first.
ROUND_SECONDS = 0.02


def measured(before: Evaluator, after: Evaluator, batch: Batch) -> Latency:
    """Up to 15 rounds of both on one batch; they end after about a second and a half.

    There is one round at least, after one run to warm up. Other work on the machine only ever adds time: of a round's
    runs the fastest counts.
    """
    pair = (before, after)
    for evaluator in pair:
        evaluator.run(batch)
    times: tuple[list[float], list[float]] = ([], [])
    start = time.perf_counter()
    for turn in range(ROUNDS):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            times[which].append(_fastest(pair[which], batch))
        if time.perf_counter() - start > SECONDS:
            break
    low, high = np.quantile(np.divide(times[1], times[0]), (0.25, 0.75))
    return Latency(min(times[0]), min(times[1]), (float(low), float(high)))


def _fastest(evaluator: Evaluator, batch: Batch) -> float:
    start = began = time.perf_counter()
    fastest = float("inf")
    while True:
        evaluator.run(batch)
        now = time.perf_counter()
        fastest, began = min(fastest, now - began), now
        if now - start >= ROUND_SECONDS:
            return fastest
