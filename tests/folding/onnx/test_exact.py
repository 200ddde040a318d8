"""The original in float64: right where the reference evaluator of onnx is not, and a reason where it cannot run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import normdiag
from normdiag.errors import InputError
from normdiag.folding.onnx import OnnxFoldable, exact, reference
from normdiag.folding.onnx.reference import Meter, operators
from normdiag.records import Batch
from normdiag.records.model import Array
from tests.nets.onnx.nodes import TYPES, batch_norm, conv_norm, from_nodes, node, norm_weights, normal, save, value

SIZES = (7, 8, 6)


def run_both(op: str, arrays: list[Array], **attributes: Any) -> tuple[Array, Array] | None:
    """In float32 by onnxruntime and in float64 by ours; None where onnxruntime does not take it, or ours declines."""
    names = [f"i{k}" for k in range(len(arrays))]

    def one_node(kind: str) -> onnx.ModelProto:
        inputs = {name: array.shape for name, array in zip(names, arrays, strict=True)}
        return from_nodes([node(op, names, ["y"], **attributes)], inputs, ["y"], {}, opset=19, dtype=kind)

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    data, exact_model = (one_node(kind) for kind in ("float32", "float64"))
    try:
        session = onnxruntime.InferenceSession(data.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feed = {name: array.astype(np.float32) for name, array in zip(names, arrays, strict=True)}
        (expected,) = session.run(None, feed)
    except Exception:  # its exceptions have no common base
        return None
    evaluator = ReferenceEvaluator(exact_model, new_ops=operators(Meter()))
    try:
        (got,) = evaluator.run(None, dict(zip(names, arrays, strict=True)))
    except NotImplementedError:
        return None
    return expected, got


def windows(rank: int) -> Iterator[dict[str, Any]]:
    """Kernel size, strides, dilations and padding of every kind."""
    pads = [{"pads": [b] * rank + [e] * rank} for b, e in ((0, 0), (1, 1), (0, 2))]
    automatic = [{"auto_pad": kind} for kind in ("SAME_UPPER", "SAME_LOWER", "VALID")]
    for stride, dilation, padding in product((1, 2), (1, 2), [*pads, *automatic]):
        if "auto_pad" not in padding or dilation == 1:
            yield {"strides": [stride] * rank, "dilations": [dilation] * rank, **padding}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions_and_pools(rank: int) -> None:
    rng = np.random.default_rng(rank)
    x = rng.normal(0, 1, (2, 4, *SIZES[:rank]))
    compared: dict[str, int] = {}
    for kernel, how in product((1, 2, 3), windows(rank)):
        spatial = (kernel,) * rank
        cases: list[tuple[str, list[Array], dict[str, Any]]] = []
        for group in (1, 2, 4):
            convolution = [x, rng.normal(0, 1, (8, 4 // group, *spatial)), rng.normal(0, 1, 8)]
            transposed = [x, rng.normal(0, 1, (4, 3, *spatial)), rng.normal(0, 1, 3 * group)]
            cases += [("Conv", convolution, {"group": group}), ("ConvTranspose", transposed, {"group": group})]
            if 2 in how["strides"]:
                cases.append(("ConvTranspose", transposed, {"group": group, "output_padding": [1] * rank}))
        for ceil in (0, 1):
            pool = {"kernel_shape": spatial, "ceil_mode": ceil}
            cases += [("MaxPool", [x], pool), *(("AveragePool", [x], {**pool, "count_include_pad": c}) for c in (0, 1))]
        for op, arrays, attributes in cases:
            if op.endswith("Pool") and max(how.get("pads", [0])) >= kernel:
                continue
            found = run_both(op, arrays, **how, **attributes)
            if found is not None:
                assert found[0].shape == found[1].shape, (op, how, attributes)
                np.testing.assert_allclose(found[1], found[0], atol=1e-4, err_msg=f"{op} {how} {attributes}")
                compared[op] = compared.get(op, 0) + 1
    assert all(compared[op] > 20 for op in ("Conv", "ConvTranspose", "MaxPool", "AveragePool")), compared


@pytest.mark.parametrize("opset", [9, 12, 17])
def test_float64_against_float32(tmp_path: Path, opset: int) -> None:
    """A momentum that is stated, as all exporters do, must not mean training."""
    proto = conv_norm()
    proto.opset_import[0].version = opset
    proto.graph.node[1].attribute.append(helper.make_attribute("momentum", 0.9))
    found, expected = both(save(proto, tmp_path / "m.onnx"))
    assert found.keys() == expected.keys() == {"y", "n"}
    for name, values in found.items():
        assert values.dtype == np.float64
        np.testing.assert_allclose(values, expected[name], atol=1e-5)


def both(path: Path, extra: tuple[str, ...] = ("n",)) -> tuple[dict[str, Array], dict[str, Array]]:
    foldable = OnnxFoldable(path)
    batch = Batch((np.random.default_rng(0).normal(0, 1, (2, 3, 6, 6)).astype(np.float32),))
    evaluator = foldable.exact(extra)
    assert not isinstance(evaluator, str)
    return dict(evaluator.run(batch)), dict(foldable.evaluator(extra).run(batch))


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_other_types_become_float64(tmp_path: Path, kind: str) -> None:
    """Initializers, constants in nodes, casts, inputs, outputs, and what is stated about tensors."""
    dtype = np.dtype(kind)
    third = numpy_helper.from_array(np.array([1 / 3], dtype))
    nodes = [
        node("Constant", [], ["k"], value=third),
        node("Constant", [], ["l"], value_float=0.1),
        node("Cast", ["l"], ["l2"], to=TYPES[kind]),
        node("Mul", ["x", "k"], ["m"]),
        node("Add", ["m", "l2"], ["a"]),
        node("Add", ["a", "w"], ["y"]),
    ]
    proto = from_nodes(nodes, {"x": [2, 3]}, ["y"], {"w": np.array([0.7], dtype)}, dtype=kind)
    proto.graph.value_info.append(value("m", [2, 3], TYPES[kind]))
    evaluator = OnnxFoldable(save(proto, tmp_path / "m.onnx")).exact()
    assert not isinstance(evaluator, str)
    x = np.full((2, 3), 1.0, np.float32)
    expected = float(dtype.type(1 / 3)) + float(np.float32(0.1)) + float(dtype.type(0.7))
    np.testing.assert_allclose(evaluator.run(Batch((x,)))["y"], np.full((2, 3), expected), rtol=1e-15)


def test_the_file_is_left_as_it_is(tmp_path: Path) -> None:
    foldable = OnnxFoldable(save(conv_norm(), tmp_path / "m.onnx"))
    before = foldable.evaluator().run(Batch((np.ones((1, 3, 6, 6), np.float32),)))
    foldable.exact()
    after = foldable.evaluator().run(Batch((np.ones((1, 3, 6, 6), np.float32),)))
    assert after["y"].dtype == np.float32 and (after["y"] == before["y"]).all()


@pytest.mark.parametrize(
    ("op", "domain", "reason"),
    [("Mystery", "mine", "mine"), ("RandomNormalLike", "", "other numbers"), ("GridSample", "", "too long")],
)
def test_what_cannot_run_says_why(tmp_path: Path, op: str, domain: str, reason: str) -> None:
    proto = conv_norm()
    proto.graph.node.append(node(op, ["y"], ["z"], domain=domain))
    proto.opset_import.append(helper.make_opsetid("mine", 1))
    found = OnnxFoldable(save(proto, tmp_path / "m.onnx")).exact()
    assert isinstance(found, str) and reason in found


def test_limits_on_work_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(conv_norm(), tmp_path / "m.onnx")
    evaluator = OnnxFoldable(path).exact()
    assert not isinstance(evaluator, str)
    batch = Batch((np.ones((1, 3, 6, 6), np.float32),))
    monkeypatch.setattr(reference, "MOST_WORK", 4 * 3 * 9 * 16 + 1)
    for _ in range(3):  # each run by itself, not all together
        evaluator.run(batch)
    with pytest.raises(InputError, match="too long"):
        evaluator.run(Batch((np.ones((2, 3, 6, 6), np.float32),)))
    monkeypatch.setattr(reference, "MOST_WORK", 1e9)
    monkeypatch.setattr(reference, "MOST_NUMBERS", 4 * 16 * 2)
    evaluator.run(batch)
    with pytest.raises(InputError, match="too much memory"):
        evaluator.run(Batch((np.ones((2, 3, 6, 6), np.float32),)))
    monkeypatch.setattr(exact, "_MOST_BYTES", 100)
    assert "float64" in str(OnnxFoldable(path).exact())


def test_errors_of_the_reference_evaluator_are_one_line(tmp_path: Path) -> None:
    """Shapes that do not fit show only while it runs."""
    proto = from_nodes(
        [node("Conv", ["x", "w"], ["c"], name="conv"), node("Reshape", ["c", "s"], ["y"])],
        {"x": ["N", 3, 6, 6]},
        ["y"],
        normal(w=(4, 3, 1, 1)) | {"s": np.array([7, 7])} | norm_weights(4),
    )
    evaluator = OnnxFoldable(save(proto, tmp_path / "m.onnx")).exact()
    assert not isinstance(evaluator, str)
    with pytest.raises(InputError, match="reference evaluator failed") as error:
        evaluator.run(Batch((np.ones((1, 3, 6, 6), np.float32),)))
    assert "\n" not in str(error.value)


def test_a_signaling_nan_among_the_weights_is_no_warning(tmp_path: Path) -> None:
    """Its conversion to float64 makes a quiet one of it, which numpy warns of."""
    bits = np.full((4, 4, 1, 1), 0x3F800000, np.uint32)
    bits.flat[0] = 0x7FA00000
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        batch_norm("c", "n"),
        node("Relu", ["n"], ["r"]),
        node("Conv", ["r", "s"], ["y"]),
    ]
    weights = normal(w=(4, 3, 3, 3)) | norm_weights(4) | {"s": bits.view(np.float32)}
    path = save(from_nodes(nodes, {"x": ["N", 3, 6, 6]}, ["y"], weights), tmp_path / "net.onnx")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        normdiag.fold(path, output=tmp_path / "folded.onnx")
    assert [str(each.message) for each in said if each.category is RuntimeWarning] == []
