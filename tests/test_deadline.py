"""A limit on time, and models that never end: a deadline and Ctrl-C end them all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import normdiag
from normdiag.commands.check import Checking, check
from normdiag.config import Config, DataSettings
from normdiag.deadline import deadline
from normdiag.errors import DeadlineReached, UsageError
from normdiag.observe.onnx.stoppable import Caller

ENDLESS = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4,5,5] x) => (float[N,4,5,5] z) {
  always = Constant<value = bool {1}>()
  c = Conv(x, weight)
  y = BatchNormalization(c, scale, bias, mean, var)
  z = Loop(, always, y) <body = b (int64 i, bool k, float[N,4,5,5] a) => (bool k2, float[N,4,5,5] a2) {
    k2 = Identity(k)
    a2 = Identity(a)
  }>
}
"""


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    model = parser.parse_model(ENDLESS)
    for name, value in (("scale", 1.0), ("bias", 0.0), ("mean", 0.1), ("var", 2.0)):
        model.graph.initializer.append(numpy_helper.from_array(np.full(4, value, np.float32), name))
    weight = np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1)  # a norm that folds, so that there is something to verify
    model.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    onnx.save(model, tmp_path / "endless.onnx")
    np.save(tmp_path / "x.npy", np.zeros((8, 4, 5, 5), np.float32))
    return tmp_path / "endless.onnx"


def test_the_time_is_up_whatever_catches_exceptions() -> None:
    with pytest.raises(DeadlineReached, match=r"net\.onnx: not done after 0\.1 seconds"), deadline(0.1, "net.onnx"):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pytest.fail("what turns failures into a line got it")


def test_nothing_comes_after_it_has_ended() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with deadline(0.05, "x"):
        pass
    time.sleep(0.1)
    assert signal.getsignal(signal.SIGALRM) == before
    with deadline(None, "x"):
        assert signal.getsignal(signal.SIGALRM) == before


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_time_that_is_none(seconds: float) -> None:
    with pytest.raises(UsageError, match="more than 0 seconds"), deadline(seconds, "x"):
        pass


def test_a_thread_that_gets_no_signals() -> None:
    errors: list[BaseException] = []

    def try_it() -> None:
        try:
            with deadline(1.0, "x"):
                pass
        except UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


def test_a_call_is_told_to_stop_and_may_end() -> None:
    stopped, call = threading.Event(), Caller()
    assert call(lambda: 3, stopped.set) == 3 and not stopped.is_set()
    with pytest.raises(ZeroDivisionError):
        call(lambda: 1 // 0, stopped.set)
    assert not stopped.is_set()
    with pytest.raises(DeadlineReached), deadline(0.1, "x"):
        call(stopped.wait, stopped.set)
    assert stopped.is_set() and call(lambda: 4, stopped.set) == 4


def test_the_thread_ends_with_the_caller() -> None:
    before, call = set(threading.enumerate()), Caller()
    call(lambda: None, lambda: None)
    (thread,) = set(threading.enumerate()) - before
    del call
    thread.join(5)
    assert not thread.is_alive()


def use_inspect(path: Path) -> None:
    normdiag.inspect(path, data=[str(path.parent / "x.npy")])


def use_fold(path: Path) -> None:
    normdiag.fold(path, output=path.parent / "out.onnx")


@pytest.mark.parametrize("use", [use_inspect, use_fold])
def test_a_model_without_an_end_is_stopped(endless: Path, use: Callable[[Path], None]) -> None:
    before, started = threading.active_count(), time.monotonic()
    with pytest.raises(DeadlineReached), deadline(1.5, "x"):
        use(endless)
    assert time.monotonic() - started < 5
    assert threading.active_count() <= before + 1, "the run has ended too"
    assert not (endless.parent / "out.onnx").exists()


def test_check_goes_on_with_the_next_model(endless: Path, samples: Path) -> None:
    data = DataSettings(data=(str(endless.parent / "x.npy"),))
    report = check([endless, samples / "digits_mlp_batch.onnx"], Checking(Config(data=data), timeout=4.0))
    first, second = report.models
    assert first.error is not None and "not done after 4 seconds (--timeout)" in first.error
    assert second.error is not None and "not done" not in second.error, "it does not take this data"


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("command", ["inspect {} --data {}/x.npy", "fold {} -o {}/out.onnx"])
def test_ctrl_c_ends_it_within_five_seconds(endless: Path, command: str) -> None:
    arguments = command.format(endless, endless.parent).split()
    command_line = [sys.executable, "-m", "normdiag", *arguments]
    process = subprocess.Popen(command_line, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    while _cpu(process.pid) < 3:
        assert process.poll() is None, "it has an end"
        time.sleep(0.05)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and time.monotonic() - started < 5, (out, err)
    assert not (endless.parent / "out.onnx").exists()


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process: more than its imports take, and it runs the model."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
