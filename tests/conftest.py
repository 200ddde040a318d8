"""Shared fixtures: the folder of third-party models, Hypothesis profiles, quiet and single-threaded backends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

from normdiag.extras import OLDEST_EXPORT

# Before torch or onnxruntime is imported: one thread per test worker, and nothing written outside the repository.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# A shell starts what runs in the background with Ctrl-C ignored, and all that it starts inherits that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadlines: a shared runner is slow at random. `ci` repeats the same examples, so that a red build can be repeated.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_MODELS = REPOSITORY.parent / "shared" / "real"


# Whole files of which every test exports; others have the marker on a test.
EXPORTING = (
    "tests/folding/pytorch/",
    "tests/folding/test_exported_folds.py",
    "tests/folding/test_random_torch.py",
    "tests/folding/test_real_folds.py",
    "tests/folding/test_zoo_torch.py",
    "tests/folding/test_zoo_torch_by_hand.py",
    "tests/graph/importers/torch_export/",
    "tests/graph/importers/onnx/test_onnx_exports.py",
    "tests/models/pytorch/test_exported_program.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what exports where torch is too old for it, as the job with the lowest versions has it."""
    found = tuple(map(int, version("torch").split(".")[:2]))
    if found >= OLDEST_EXPORT:
        return
    for item in items:
        path = item.path.relative_to(REPOSITORY).as_posix()
        # A .pt2 file of a newer torch is one that an older one cannot load.
        exported = path.startswith(EXPORTING) or "digits_cnn.pt2" in item.name
        if exported or item.get_closest_marker("exports"):
            item.add_marker(pytest.mark.skip(f"exports, which needs torch {OLDEST_EXPORT[0]}.{OLDEST_EXPORT[1]}"))


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """Path of a third-party model or data file beside the repository; skips the test where it is missing."""

    def find(relative: str) -> Path:
        path = REAL_MODELS / relative
        if not path.exists():
            pytest.skip(f"third-party file not here: {path}")
        return path

    return find


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of bundled sample models."""
    return REPOSITORY / "sample_models"
