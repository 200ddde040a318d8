"""Tensor files of torch and safetensors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normdiag.data import DataOptions
from normdiag.data.source import open_data
from normdiag.errors import InputError
from normdiag.records import InputSpec
from tests.data.helpers import floats, pixels, read, whole

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")


def save_torch(value: Any, path: Path) -> None:
    torch.save(value, path)


def save_legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def save_safe(value: Any, path: Path) -> None:
    safetensors.save_file(value if isinstance(value, dict) else {"only": value}, path)


WRITERS = [save_torch, save_legacy, save_safe]


@pytest.mark.parametrize("save", WRITERS)
def test_a_sole_tensor_is_the_data(tmp_path: Path, save: Callable[..., None]) -> None:
    x = floats(11, 3)
    save(torch.from_numpy(x), tmp_path / "x")
    source = open_data([str(tmp_path / "x")], DataOptions(batch_size=4))
    assert source.info.total == 11
    assert np.array_equal(whole(source), x)


@pytest.mark.parametrize("save", WRITERS)
def test_tensors_are_found_by_name_and_labels_left(tmp_path: Path, save: Callable[..., None]) -> None:
    a, b = torch.from_numpy(floats(6, 3)), torch.from_numpy(floats(6, 2))
    save({"y": torch.arange(6), "x": a}, tmp_path / "xy")
    assert np.array_equal(read(tmp_path / "xy"), a.numpy())
    save({"q": b, "p": a}, tmp_path / "pq")
    inputs = [InputSpec(name, "float32", None) for name in ("p", "q")]
    batch = next(iter(open_data([str(tmp_path / "pq")], None, inputs)))
    assert batch.names == ("p", "q")
    assert np.array_equal(batch.arrays[1], b.numpy())
    with pytest.raises(InputError, match=r"holds .*p \(6, 3\) float32.*name the one"):
        open_data([str(tmp_path / "pq")])


@pytest.mark.parametrize("save", WRITERS)
def test_bfloat16_becomes_float32_and_pixels_are_scaled(tmp_path: Path, save: Callable[..., None]) -> None:
    x = torch.from_numpy(floats(4, 5)).bfloat16()
    save(x, tmp_path / "half")
    result = read(tmp_path / "half")
    assert result.dtype == np.float32
    assert np.array_equal(result, x.float().numpy())
    images = pixels(3, 6, 5, 3)
    save(torch.from_numpy(images), tmp_path / "images")
    np.testing.assert_allclose(read(tmp_path / "images"), images.transpose(0, 3, 1, 2) / 255, rtol=1e-6)


@pytest.mark.parametrize("save", WRITERS)
@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, save: Callable[..., None], percent: int) -> None:
    save(torch.from_numpy(floats(50, 20)), tmp_path / "cut")
    content = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) * percent // 100])
    with pytest.raises(InputError, match="cut"):
        read(tmp_path / "cut")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
@pytest.mark.parametrize("save", WRITERS[::2])
def test_memory_does_not_grow_with_the_data(tmp_path: Path, save: Callable[..., None]) -> None:
    """The peak resident memory of a whole process, mapped pages included, and without torch."""
    save(torch.zeros(1000, 20_000), tmp_path / "x")  # 80 MB
    code = (
        "import sys; from normdiag.data import DataOptions; from normdiag.data.source import open_data; "
        "n = sum(b.size for b in open_data([sys.argv[1]], DataOptions(max_samples=int(sys.argv[2])))); "
        "status = dict(line.split(':') for line in open('/proc/self/status')); "
        "print(n, status['VmHWM'].split()[0], 'torch' in sys.modules)"
    )

    def peak(samples: int) -> int:
        command = [sys.executable, "-c", code, str(tmp_path / "x"), str(samples)]
        count, peak, has_torch = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert (int(count), has_torch) == (samples, "False")
        return int(peak) // 1000

    assert peak(1000) - peak(32) < 15  # MB


def test_other_files_are_refused(tmp_path: Path, real: Callable[[str], Path]) -> None:
    for name, content in (
        ("a.csv", b"name,city\nAda,London\n"),
        ("b.txt", b"hello"),
        ("c.json", b'{"a": 1}'),
        ("d.bin", bytes(99)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)
    with pytest.raises(InputError, match=r"nmp\.onnx"):
        read(real("basic_pitch/nmp.onnx"))
