"""Many damaged files, each read by the command that is for it; what went wrong is counted and kept."""

from __future__ import annotations

import random
import shlex
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.limited import Outcome, run_limited
from tests.fuzz.mutate import CANARY, mutated
from tests.fuzz.seeds import seeds

# Imported in this process once, not in every fork; none of them starts a thread.
PRELOADED = (
    "onnx", "onnxruntime", "PIL.Image", "normdiag.cli.app", "normdiag.commands.check", "normdiag.commands.fold",
    "normdiag.commands.measure", "normdiag.graph.importers.onnx", "normdiag.models.static", "normdiag.observe.onnx",
    "normdiag.folding.onnx", "normdiag.render.text", "normdiag.render.ci.render", "normdiag.config",
)  # fmt: skip


RUNS = ("image", "npy", "npz", "onnx fold", "onnx run")


@dataclass
class Tally:
    """Of one kind of file: cases, how many were read and refused, failures by what they are, the extremes."""

    cases: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: int = 0

    def add(self, outcome: Outcome, failure: str | None) -> None:
        """Count one case."""
        self.cases += 1
        self.codes[outcome.code] += 1
        self.slowest, self.largest = max(self.slowest, outcome.seconds), max(self.largest, outcome.megabytes)
        if failure is not None:
            self.failures[failure] += 1


def campaign(
    cases: int,
    seed: int,
    keep: Path | None = None,
    told: Callable[[int], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Tally]:
    """Run that many cases; files that made a command fail go to `keep`, with what it printed."""
    import onnx  # noqa: F401

    import normdiag.commands.check  # noqa: F401  (in this process once, not in each fork)

    rng, tallies = random.Random(seed), dict[str, Tally]()
    with tempfile.TemporaryDirectory(prefix="normdiag-fuzz-") as name:
        folder = Path(name)
        known = seeds(folder)
        # Those whose command runs a model take ten times as long: a quarter as many of them.
        kinds = [kind for kind in sorted({each.kind for each in known}) for _ in range(1 if kind in RUNS else 4)]
        for number in range(cases):
            if stopped():
                break
            kind = kinds[number % len(kinds)]
            each = rng.choice([one for one in known if one.kind == kind])
            path = folder / each.name
            path.write_bytes(mutated(each, rng))
            outcome = run_limited(shlex.split(each.command.format(path)), folder)
            failure = outcome.failure(one_line=not each.command.startswith("check"))
            if (folder / CANARY.decode()).exists():
                failure = "code run"
            tallies.setdefault(kind, Tally()).add(outcome, failure)
            if failure is not None and keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{number}-{failure.replace(' ', '-')}-{each.name}").write_bytes(path.read_bytes())
                (keep / f"{number}.txt").write_text(f"{failure} {outcome}\n{each.command}\n")
            (folder / CANARY.decode()).unlink(missing_ok=True)
            path.unlink()
            told(number + 1)
    return tallies
