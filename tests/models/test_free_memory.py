"""What memory is free: the system's word, less where a control group or the process has a limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from normdiag.models import free_memory as module
from normdiag.models.free_memory import free_memory

GB = 1 << 30


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up system with 8 GB free, under no limit."""
    for name, content in {
        "proc/meminfo": f"MemTotal: 1 kB\nMemAvailable:   {8 * GB >> 10} kB\n",
        "proc/self/cgroup": "0::/box\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(module, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(module, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(module, "_left_of_addresses", lambda: None)
    return tmp_path


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content)


def test_without_limits(system: Path) -> None:
    assert free_memory() == 8 * GB


def test_the_limit_of_a_control_group(system: Path) -> None:
    """What only caches files counts as free."""
    box = system / "groups/box"
    group(box, memory_max=f"{4 * GB}\n", memory_current=f"{3 * GB}\n", memory_stat=f"anon 5\nfile {GB}\n")
    assert free_memory() == 2 * GB
    (box / "memory.max").write_text("max\n")
    assert free_memory() == 8 * GB
    group(system / "groups", memory_max=f"{GB}\n", memory_current=f"{2 * GB}\n")
    assert free_memory() == 0


def test_the_limit_of_an_older_control_group(system: Path) -> None:
    old = system / "groups/memory"
    group(old, memory_limit_in_bytes=str(3 * GB), memory_usage_in_bytes=str(GB), memory_stat=f"total_cache {GB >> 1}")
    assert free_memory() == 2 * GB + (GB >> 1)
    (system / "proc/self/cgroup").write_text("5:cpu,memory:/box\n0::/\n")
    group(old / "box", memory_limit_in_bytes=str(GB), memory_usage_in_bytes=str(GB >> 1))
    assert free_memory() == GB >> 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ulimit -v")
def test_the_limit_of_the_process() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)); "
        "from normdiag.models.free_memory import free_memory; print(free_memory())"
    )
    found = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert 0 < found < 2 * GB


def test_where_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_free", "_left_in_group", "_left_of_addresses"):
        monkeypatch.setattr(module, name, lambda: None)
    assert free_memory() is None
