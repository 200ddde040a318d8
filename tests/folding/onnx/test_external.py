"""Models with weights in files beside them: layout, names, in place, and what a kill leaves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, numpy_helper

from normdiag.errors import InputError
from normdiag.folding.onnx import OnnxFoldable, evaluate
from normdiag.folding.plan import plan_folds
from normdiag.records import Batch
from tests.folding.onnx.folded_files import fold_file, initializer, same
from tests.nets.onnx.nodes import batch_norm, from_nodes, node, norm_weights, normal, save, value


def network() -> onnx.ModelProto:
    """Two convolutions, one with a norm, whose weights are shared with nobody."""
    return from_nodes(
        [
            node("Conv", ["x", "w1"], ["c1"], name="conv1"),
            batch_norm("c1", "n1"),
            node("Relu", ["n1"], ["r1"]),
            node("Conv", ["r1", "w2"], ["y"], name="conv2"),
        ],
        {"x": ["N", 3, 8, 8]},
        ["y"],
        normal(w1=(8, 3, 3, 3)) | norm_weights(8) | normal(w2=(4, 8, 3, 3)),
    )


def save_outside(proto: onnx.ModelProto, path: Path, offsets: Mapping[str, tuple[str, int]]) -> Path:
    """Values of these initializers at the given place in the given file."""
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in proto.graph.initializer:
        if tensor.name in offsets:
            location, offset = offsets[tensor.name]
            file = path.parent / location
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            with file.open("r+b") as stream:
                stream.seek(offset)
                stream.write(tensor.raw_data)
            external_data_helper.set_external_data(tensor, location, offset, len(tensor.raw_data))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
    return save(proto, path)


def places(path: Path) -> dict[str, tuple[str, int, int]]:
    """Location, offset and length of the external tensors in a file."""
    proto = onnx.load(path, load_external_data=False)
    found = {}
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            info = external_data_helper.ExternalDataInfo(tensor)
            found[tensor.name] = (info.location, info.offset or 0, info.length)
    return found


def all_in(location: str, alignment: int = 1) -> dict[str, tuple[str, int]]:
    """Every initializer of the network in one file, in order."""
    offset, result = 0, {}
    for tensor in network().graph.initializer:
        result[tensor.name] = (location, offset)
        offset = -(-(offset + len(tensor.raw_data)) // alignment) * alignment
    return result


@pytest.mark.parametrize("alignment", [1, 64, 4096])
def test_layout_stays(tmp_path: Path, alignment: int) -> None:
    (tmp_path / "a").mkdir()
    source = save_outside(network(), tmp_path / "a" / "m.onnx", all_in("w/data.bin", alignment))
    target = tmp_path / "b" / "out.onnx"
    target.parent.mkdir()
    fold_file(source, target)
    same(source, target)
    onnx.checker.check_model(str(target))
    now = places(target)
    assert list(now) == ["w1", "w2"] and {place[0] for place in now.values()} == {"w/data.bin"}
    assert now["w1"][1] == 0 and now["w2"][1] == -(-8 * 27 * 4 // alignment) * alignment
    assert (target.parent / "w/data.bin").stat().st_size == now["w2"][1] + now["w2"][2]


def test_unchanged_tensors_are_copied_and_others_written(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    source = save_outside(network(), tmp_path / "m.onnx", all_in("m.data"))
    fold_file(source, tmp_path / "out" / "m.onnx")
    before, after = onnx.load(source), onnx.load(tmp_path / "out" / "m.onnx")
    assert initializer(after, "w2").raw_data == initializer(before, "w2").raw_data
    assert initializer(after, "w1").raw_data != initializer(before, "w1").raw_data


def test_names_in_use_are_not_touched(tmp_path: Path) -> None:
    """Beside its original the folded model gets data of its own; what is left of other models stays."""
    source = save_outside(network(), tmp_path / "m.onnx", all_in("m.data"))
    (tmp_path / "out.onnx.data").write_bytes(b"somebody else's")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    fold_file(source, tmp_path / "out.onnx")
    assert {place[0] for place in places(tmp_path / "out.onnx").values()} == {"out.onnx.1.data"}
    assert all(path.read_bytes() == data for path, data in before.items())
    same(source, tmp_path / "out.onnx")


def test_several_data_files(tmp_path: Path) -> None:
    """One each where the names are free; together in one where they are not."""
    where = {name: (f"{name}.bin", 0) for name in ("w1", "w2", "bn.weight")}
    source = save_outside(network(), tmp_path / "m.onnx", where)
    (tmp_path / "other").mkdir()
    fold_file(source, tmp_path / "other" / "m.onnx")
    assert {name: place[0] for name, place in places(tmp_path / "other" / "m.onnx").items()} == {
        "w1": "w1.bin",
        "w2": "w2.bin",
    }
    fold_file(source, tmp_path / "out.onnx")
    assert {place[0] for place in places(tmp_path / "out.onnx").values()} == {"out.onnx.data"}
    same(source, tmp_path / "out.onnx")
    same(source, tmp_path / "other" / "m.onnx")


def test_in_place(tmp_path: Path) -> None:
    """The data get a new name, and the old ones go if they were those of this file alone."""
    source = save_outside(network(), tmp_path / "m.onnx", all_in("m.onnx.data"))
    (tmp_path / "kept").mkdir()
    original = save_outside(network(), tmp_path / "kept" / "m.onnx", all_in("m.onnx.data"))
    fold_file(source, source)
    same(original, source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "m.onnx", "m.onnx.1.data"]
    assert not fold_file(source, source).steps
    same(original, source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "m.onnx", "m.onnx.data"]


def test_old_data_that_others_may_need_stay_and_are_named(tmp_path: Path) -> None:
    source = save_outside(network(), tmp_path / "m.onnx", all_in("weights.bin"))
    foldable = OnnxFoldable(source)
    notes = foldable.fold(plan_folds(foldable.graph)).write(source)
    assert (tmp_path / "weights.bin").exists() and "weights.bin" in notes[-1] and len(notes) == 2
    other = save_outside(network(), tmp_path / "one.onnx", all_in("one.onnx.data"))
    (tmp_path / "two.onnx").write_bytes(other.read_bytes())
    fold_file(other, other)
    assert (tmp_path / "one.onnx.data").exists()


def test_tensors_that_share_bytes_share_them_still(tmp_path: Path) -> None:
    """Two initializers at one place, and one that overlaps a changed one."""
    proto = network()
    proto.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(initializer(proto, "w2")), "w3"))
    proto.graph.node[3].output[0] = "y2"
    proto.graph.node.append(node("Conv", ["r1", "w3"], ["y3"], name="conv3"))
    proto.graph.node.append(node("Add", ["y2", "y3"], ["y"]))
    offsets = all_in("m.data")
    (tmp_path / "b").mkdir()
    source = save_outside(proto, tmp_path / "m.onnx", {**offsets, "w3": offsets["w2"]})
    fold_file(source, tmp_path / "b" / "m.onnx")
    now = places(tmp_path / "b" / "m.onnx")
    assert now["w2"] == now["w3"]
    same(source, tmp_path / "b" / "m.onnx")


def test_overlapping_a_changed_tensor(tmp_path: Path) -> None:
    proto = network()
    first = initializer(proto, "w1")
    proto.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(first)[:4].copy(), "part"))
    proto.graph.node.append(node("Abs", ["part"], ["z"]))
    proto.graph.output.append(value("z", (4, 3, 3, 3)))
    offsets = all_in("m.data")
    (tmp_path / "b").mkdir()
    source = save_outside(proto, tmp_path / "m.onnx", {**offsets, "part": offsets["w1"]})
    fold_file(source, tmp_path / "b" / "m.onnx")
    same(source, tmp_path / "b" / "m.onnx")


def test_data_of_constants_in_nodes_move_too(tmp_path: Path) -> None:
    """A tensor in a node's attribute, which the new layout shifts."""
    proto = network()
    values = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)
    constant = numpy_helper.from_array(values, "k")
    (tmp_path / "b").mkdir()
    source = save_outside(proto, tmp_path / "m.onnx", all_in("m.data"))
    stored = onnx.load(source, load_external_data=False)
    size = (tmp_path / "m.data").stat().st_size
    with (tmp_path / "m.data").open("ab") as stream:
        stream.write(constant.raw_data)
    external_data_helper.set_external_data(constant, "m.data", size, 16)
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    stored.graph.node[3].output[0] = "y0"
    stored.graph.node.append(node("Constant", [], ["k"], value=constant))
    stored.graph.node.extend([node("Relu", ["y0"], ["y1"]), node("Add", ["y1", "k"], ["y"])])
    save(stored, source)
    fold_file(source, tmp_path / "b" / "m.onnx")
    target = tmp_path / "b" / "m.onnx"
    moved = onnx.load(target)
    same(source, target)
    kept = next(n for n in moved.graph.node if n.op_type == "Constant").attribute[0].t
    assert (numpy_helper.to_array(kept) == values).all()


def test_a_link_is_refused_where_data_lie_beside_the_file(tmp_path: Path) -> None:
    source = save_outside(network(), tmp_path / "m.onnx", all_in("m.data"))
    (tmp_path / "link.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(InputError, match="link"):
        fold_file(source, tmp_path / "link.onnx")


def test_data_that_are_called_like_the_target(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    source = save_outside(network(), tmp_path / "m.onnx", all_in("weights.onnx"))
    target = tmp_path / "b" / "weights.onnx"
    fold_file(source, target)
    same(source, target)
    assert {place[0] for place in places(target).values()} == {"weights.onnx.data"}


def test_empty_tensors(tmp_path: Path) -> None:
    """At the start of a file, in its middle and without a length."""
    proto = network()
    for name in ("e1", "e2"):
        proto.graph.initializer.append(numpy_helper.from_array(np.zeros((0, 3), np.float32), name))
    (tmp_path / "b").mkdir()
    offsets = all_in("m.data")
    save_outside(proto, tmp_path / "m.onnx", {**offsets, "e1": ("m.data", 0), "e2": offsets["w2"]})
    stored = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for name in ("e1", "e2"):
        del initializer(stored, name).external_data[2]
    source = save(stored, tmp_path / "m.onnx")
    fold_file(source, tmp_path / "b" / "m.onnx")
    assert (tmp_path / "b" / "m.data").stat().st_size == 4 * (8 * 27 + 4 * 72)
    same(source, tmp_path / "b" / "m.onnx")


def test_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_outside(network(), tmp_path / "m.onnx", all_in("m.data"))
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("normdiag.writing.onnx.write.MAX_BYTES", 10)
    with pytest.raises(InputError, match="2 GiB"):
        fold_file(source, tmp_path / "out.onnx")
    assert sorted(tmp_path.iterdir()) == before


def test_a_large_model_is_compared_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a limit both models are run with their weights mapped, the folded one from a folder of its own."""
    source = save_outside(network(), tmp_path / "m.onnx", all_in("m.data"))
    foldable = OnnxFoldable(source)
    folded = foldable.fold(plan_folds(foldable.graph))
    batch = Batch((np.random.default_rng(0).normal(0, 1, (2, 3, 8, 8)).astype(np.float32),))
    in_memory = folded.evaluator(["n1"]).run(batch)
    monkeypatch.setattr(evaluate, "_IN_MEMORY", 10)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    evaluator = folded.evaluator(["n1"])
    assert list(tmp_path.glob("normdiag-*/*.data"))
    for name, values in evaluator.run(batch).items():
        assert (values == in_memory[name]).all()
    np.testing.assert_allclose(foldable.evaluator(["n1"]).run(batch)["y"], in_memory["y"], rtol=1e-4, atol=1e-4)
    del evaluator
    assert not list(tmp_path.glob("normdiag-*"))


@pytest.mark.parametrize("syncs", [0, 2])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syncs: int) -> None:
    """While the data are written, and while the model is."""
    source = save_outside(network(), tmp_path / "m.onnx", all_in("m.data"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    calls = iter(range(10))

    def full(handle: int) -> None:
        if next(calls) >= syncs:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"out\.onnx: cannot be written: No space"):
        fold_file(source, tmp_path / "out.onnx")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


WRITER = """
import sys
from pathlib import Path
from tests.folding.onnx.folded_files import fold_file
print("ready", flush=True)
while True:
    fold_file(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def with_ballast() -> onnx.ModelProto:
    """So large that a good part of the time goes into writing."""
    proto = network()
    proto.graph.initializer.append(numpy_helper.from_array(np.arange(4_000_000, dtype=np.float32), "ballast"))
    return proto


@pytest.mark.parametrize("external", [True, False])
def test_killed_at_any_moment(tmp_path: Path, external: bool) -> None:
    """The target always is a whole model: a process is killed while it folds over and over again.

    With external data in place, so that two files must change at once.
    """
    first = save(with_ballast(), tmp_path / "first.onnx")
    source = target = tmp_path / "m.onnx"
    if external:
        save_outside(with_ballast(), target, {**all_in("m.onnx.data"), "ballast": ("m.onnx.data", 4096)})
    else:
        source = first
        fold_file(source, target)
    rng = random.Random(0)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(source), str(target)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        same(first, target)
        ballast = numpy_helper.to_array(initializer(onnx.load(target), "ballast"))
        assert (ballast == np.arange(4_000_000)).all()
