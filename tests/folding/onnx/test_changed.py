"""A model that changes while it is folded, or a fold that is interrupted at the worst moment."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import normdiag
from normdiag.errors import InputError
from normdiag.folding.onnx import OnnxFoldable
from normdiag.folding.plan import plan_folds
from normdiag.models.onnx.file import open_onnx
from normdiag.writing import atomic
from tests.folding.onnx.folded_files import outputs, same
from tests.nets.onnx.nodes import batch_norm, from_nodes, node, norm_weights, normal, save


def network(scale: float = 1.0) -> onnx.ModelProto:
    """Two convolutions with a norm each, whose weights are large enough to stay in the file."""
    made = from_nodes(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1"),
            batch_norm("c1", "n1", "bn1"),
            node("Relu", ["n1"], ["r1"]),
            node("Conv", ["r1", "w2"], ["c2"], name="conv2"),
            batch_norm("c2", "y", "bn2"),
        ],
        {"x": ["N", 16, 6, 6]},
        ["y"],
        normal(w1=(128, 16, 3, 3)) | norm_weights(128, "bn1") | normal(w2=(64, 128, 3, 3)) | norm_weights(64, "bn2"),
    )
    first = made.graph.initializer[0]
    first.raw_data = (np.frombuffer(first.raw_data, np.float32) * np.float32(scale)).tobytes()
    return made


def outside(folder: Path, scale: float = 1.0) -> Path:
    """The same with all large weights in m.data."""
    path = folder / "m.onnx"
    onnx.save(network(scale), path, save_as_external_data=True, location="m.data", size_threshold=1024)
    return path


def rewritten(target: Path, content: bytes) -> None:
    target.write_bytes(content)


def replaced(target: Path, content: bytes) -> None:
    other = target.with_name("other")
    other.write_bytes(content)
    other.replace(target)


@pytest.mark.parametrize("change", [rewritten, replaced])
@pytest.mark.parametrize("kind", ["inside", "outside"])
def test_what_was_not_proven_is_not_written(tmp_path: Path, kind: str, change: Callable[[Path, bytes], None]) -> None:
    """Re-exporting to the same name takes a moment of a long verification. A file replaced while open stays the old."""
    (tmp_path / "new").mkdir()
    path = save(network(), tmp_path / "m.onnx") if kind == "inside" else outside(tmp_path)
    new = save(network(3.0), tmp_path / "new" / "m.onnx") if kind == "inside" else outside(tmp_path / "new", 3.0)
    read, fresh = (path, new) if kind == "inside" else (path.with_suffix(".data"), new.with_suffix(".data"))
    before = shutil.copy(path, tmp_path / "before.onnx")
    foldable = OnnxFoldable(path)
    folded = foldable.fold(plan_folds(foldable.graph))
    change(read, fresh.read_bytes())
    target = tmp_path / "out.onnx"
    if kind == "inside" and change is replaced:
        folded.write(target)
        same(Path(before), target)
        return
    with pytest.raises(InputError, match="changed while it was being read"):
        folded.write(target)
    assert not target.exists()
    assert not [each.name for each in tmp_path.iterdir() if "out" in each.name or "tmp" in each.name]


def test_an_interrupt_behind_the_rename_destroys_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place, with weights in another file: the old data are gone once the new model has its name."""
    path = outside(tmp_path)
    expected, calls = outputs(path), []

    def interrupted(folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 2:  # the first is that of the data
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "sync_folder", interrupted)
    result = normdiag.fold(path, output=path, force=True, verify=False)
    assert result.report.written == str(path) and len(calls) >= 2
    for name, found in outputs(path).items():
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-4 * float(np.abs(expected[name]).max()))


def test_an_interrupt_before_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(network(), tmp_path / "m.onnx")
    before = path.read_bytes()

    def interrupted(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        normdiag.fold(path, output=path, force=True, verify=False)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["m.onnx"]


def test_weights_inside_stay_inside_where_others_lie_outside(tmp_path: Path) -> None:
    proto = network()
    save(proto, tmp_path / "whole.onnx")
    gamma = next(tensor for tensor in proto.graph.initializer if tensor.name == "bn1.weight")
    (tmp_path / "gamma.data").write_bytes(gamma.raw_data)
    gamma.ClearField("raw_data")
    gamma.data_location = TensorProto.EXTERNAL
    gamma.external_data.add(key="location", value="gamma.data")
    target = tmp_path / "out.onnx"
    result = normdiag.fold(save(proto, tmp_path / "m.onnx"), output=target)
    assert result.verification is not None and result.verification.passed
    stored = onnx.load(target, load_external_data=False).graph.initializer
    assert {tensor.name for tensor in stored if tensor.data_location == TensorProto.EXTERNAL} == set()
    same(tmp_path / "whole.onnx", target)


def test_two_initializers_of_one_name(tmp_path: Path) -> None:
    """Not allowed, but onnxruntime runs them, and so does inspect."""
    proto = network()
    proto.graph.initializer.append(next(tensor for tensor in proto.graph.initializer if tensor.name == "w2"))
    path = save(proto, tmp_path / "m.onnx")
    with pytest.raises(InputError, match="two initializers are called 'w2'"):
        normdiag.fold(path)
    assert len(normdiag.inspect(path, data=["random"]).layers) == 2


def test_no_file_is_left_open(tmp_path: Path) -> None:
    path = save(network(), tmp_path / "m.onnx")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        normdiag.fold(path, verify=False)
        normdiag.inspect(path)
        for name, content in (("empty", b""), ("cut", path.read_bytes()[:-1000])):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError):
                open_onnx(tmp_path / name)
        gc.collect()
    assert not [each for each in caught if issubclass(each.category, ResourceWarning)]
