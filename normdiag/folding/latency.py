"""How long one run takes before and after, measured in turns so that both meet the same weather."""

from __future__ import annotations

import statistics
import time

from normdiag.folding.backend import Evaluator
from normdiag.records import Batch

ROUNDS = 9
SECONDS = 1.0
# A round of a fast model is several runs: the threads of the other one may still be spinning in the first.
ROUND_SECONDS = 0.02


def latencies(before: Evaluator, after: Evaluator, batch: Batch) -> tuple[float, float]:
    """Seconds of one run of each: the median over up to 9 rounds of a round's fastest run.

    Rounds end after about a second; there is one at least, after one run to warm up.
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
    return statistics.median(times[0]), statistics.median(times[1])


def _fastest(evaluator: Evaluator, batch: Batch) -> float:
    start = began = time.perf_counter()
    fastest = float("inf")
    while True:
        evaluator.run(batch)
        now = time.perf_counter()
        fastest, began = min(fastest, now - began), now
        if now - start >= ROUND_SECONDS:
            return fastest
