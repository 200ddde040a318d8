"""How long one run takes before and after, measured in turns so that both meet the same weather."""

from __future__ import annotations

import statistics
import time

from normdiag.fold.backend import Evaluator
from normdiag.records import Batch

ROUNDS = 9
SECONDS = 1.0


def latencies(before: Evaluator, after: Evaluator, batch: Batch) -> tuple[float, float]:
    """Median seconds of one run of each: up to 9 rounds within about a second, one at least, after one to warm up."""
    pair = (before, after)
    for evaluator in pair:
        evaluator.run(batch)
    times: tuple[list[float], list[float]] = ([], [])
    start = time.perf_counter()
    for turn in range(ROUNDS):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            began = time.perf_counter()
            pair[which].run(batch)
            times[which].append(time.perf_counter() - began)
        if time.perf_counter() - start > SECONDS:
            break
    return statistics.median(times[0]), statistics.median(times[1])
