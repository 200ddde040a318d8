"""Calls in processes: their order, what they raise, how they die, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from normdiag import workers
from normdiag.workers import Died, each


def act(item: str) -> str:
    """What an item asks for: to die, to raise, to work until Ctrl-C and answer or not, or to ignore even that."""
    verb, _, rest = item.partition(":")
    if verb == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if verb == "raise":
        raise ValueError(rest)
    if verb == "sleep":
        time.sleep(float(rest))
    if verb in ("answer", "drop", "ignore"):
        Path(rest).touch()
        if verb == "ignore":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if verb == "drop":
                raise
            return "so far"
    return item


def test_answers_come_in_the_order_of_the_items() -> None:
    items = ["sleep:0.3", "a", "b", "die", "c"]
    assert list(each(act, items, 2)) == [*zip(items[:3], items[:3], strict=True), ("die", Died(-11)), ("c", "c")]


def test_fewer_items_than_processes() -> None:
    assert list(each(act, ["a"], 4)) == [("a", "a")] and list(each(act, [], 4)) == []


def test_what_a_call_raises_is_raised_here(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="x"):
        list(each(act, ["a", "raise:x", "b"], 1))
    assert "in act" in capfd.readouterr().err


def test_a_death_in_words() -> None:
    assert str(Died(-11)) == "was killed by SIGSEGV" and str(Died(3)) == "ended with exit code 3"
    assert "out of memory" in str(Died(-9)) and str(Died(-40)) == "was killed by signal 40"


def interrupted(items: list[str], started: list[Path]) -> list[tuple[str, object]]:
    """What comes out when Ctrl-C reaches this process alone as soon as those calls are under way."""

    def interrupt() -> None:
        while not all(path.exists() for path in started):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    seen = []
    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        for answer in each(act, items, 3):
            seen.append(answer)
    thread.join()
    return seen


def test_ctrl_c_brings_what_the_calls_have_and_starts_no_more(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    items = ["a", f"drop:{first}", f"answer:{second}", "sleep:60", "never"]
    assert interrupted(items, [first, second]) == [("a", "a"), (items[2], "so far")]


def test_ctrl_c_waits_for_none_that_ignores_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE", 0.3)
    started = time.monotonic()
    assert interrupted(["a", f"ignore:{tmp_path / 'x'}"], [tmp_path / "x"]) == [("a", "a")]
    assert time.monotonic() - started < 20
