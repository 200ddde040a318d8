"""Where onnxruntime runs: the CPU by default, another of its execution providers by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import normdiag
from normdiag.errors import UsageError
from normdiag.models import LoadOptions
from normdiag.observe.onnx.session import execution_providers
from tests.nets.onnx.nodes import batch_norm, norm_weights, write

X = np.random.default_rng(0).normal(size=(8, 3, 4)).astype(np.float32)


def net(folder: Path) -> Path:
    return write(folder, [batch_norm("x", "y")], {"x": ["n", 3, 4]}, ["y"], norm_weights(3))


def test_names_of_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    assert execution_providers(None) == execution_providers("cpu") == ["CPUExecutionProvider"]
    for name in ("cuda", "CUDA", "CUDAExecutionProvider"):
        assert execution_providers(name) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(UsageError, match=r"--provider coreml.* has tensorrt, cuda, cpu"):
        execution_providers("coreml")


def test_one_that_is_not_installed_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--provider cuda.*onnxruntime-gpu"):
        normdiag.inspect(net(tmp_path), X, load_options=LoadOptions(provider="cuda"))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_one_that_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime itself would run on the CPU, and say so in its log alone."""
    names = ["XNNPACKExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(UsageError, match=r"--provider xnnpack: onnxruntime has it"):
        normdiag.inspect(net(tmp_path), X, load_options=LoadOptions(provider="xnnpack"))


def test_the_cpu_by_name(tmp_path: Path) -> None:
    report = normdiag.inspect(net(tmp_path), X, load_options=LoadOptions(provider="cpu"))
    assert report.layers[0].drift is not None


def test_it_is_for_onnx_models_that_are_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--provider cuda: folds"):
        normdiag.fold(net(tmp_path), output=tmp_path / "f.onnx", load_options=LoadOptions(provider="cuda"))
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(UsageError, match=r"--provider is for ONNX.*--device"):
        normdiag.inspect(weights, load_options=LoadOptions(provider="cuda"))
