"""The rounded graph in onnxruntime, against models converted to float16 in onnx's ReferenceEvaluator."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx.reference import ReferenceEvaluator
from torch import nn

import normdiag
from normdiag.errors import InputError
from normdiag.graph import open_model
from normdiag.metrics.half_norms import in_half, relative_error
from normdiag.observe.onnx import OnnxRunner
from normdiag.precision.onnx import MixedGraph
from normdiag.precision.plan import output_error
from normdiag.records import Batch
from tests.nets.onnx.nodes import from_nodes, write
from tests.precision.transformer import RMSNorm, Transformer, exported, inputs

float16 = pytest.importorskip("onnxruntime.transformers.float16")


def mixed(path: Path, target: Any = "fp16") -> MixedGraph:
    return MixedGraph(OnnxRunner(open_model(path)).prepared, target)


def sorted_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """In an order that can run, each node once: the converter appends its casts, one for each use."""
    left, known = list(model.graph.node), {each.name for each in (*model.graph.input, *model.graph.initializer)} | {""}
    done: list[onnx.NodeProto] = []
    while left:
        node = next(node for node in left if known.issuperset(node.input))
        left.remove(node)
        if not known.issuperset(node.output):
            done.append(node)
            known.update(node.output)
    del model.graph.node[:]
    model.graph.node.extend(done)
    return model


def by_reference(path: Path, keep: tuple[str, ...], x: np.ndarray) -> float:
    """The error of what onnxruntime's converter makes, with these nodes in float32 and no rounding between them."""
    from onnxruntime.transformers.onnx_model import OnnxModel

    exact = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x})[0]
    converted = float16.convert_float_to_float16(onnx.load(path), keep_io_types=True, node_block_list=list(keep))
    cleaned = OnnxModel(converted)
    cleaned.remove_cascaded_cast_nodes()
    with np.errstate(all="ignore"):
        made = ReferenceEvaluator(sorted_nodes(cleaned.model)).run(None, {"x": x})[0]
    return output_error({"y": exact}, {"y": made})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [RMSNorm, nn.LayerNorm])
@pytest.mark.parametrize("raised", [1.0, 1000.0])
def test_errors_are_those_of_the_converted_model(norm: Any, raised: float, tmp_path: Path) -> None:
    """numpy, too, adds up in float32 and stores float16; it takes means without storing the sum."""
    path, x = exported(Transformer(norm, raised), tmp_path / "m.onnx"), inputs(4)
    model = mixed(path)
    for kept in (frozenset[str](), frozenset({"norm"})):
        stored = norm is nn.LayerNorm
        made = output_error(model.exact(Batch((x,))), model.run(Batch((x,)), kept, stored_sums=stored))
        keep = tuple(name for each in kept for name in model.nodes(each))
        constants = tuple(node.name for node in onnx.load(path).graph.node if node.name.startswith("/norm/Const"))
        wanted = by_reference(path, (*keep, *constants) if kept else (), x)
        assert made == pytest.approx(wanted, rel=0.3), (norm, raised, kept)
        assert (made > 0.1) == (raised > 1 and not kept)


def fused(op: str, x: tuple[int, ...], inputs: dict[str, np.ndarray], **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(op, ["x", *inputs], ["y"], name="the_norm", **attributes)
    return from_nodes([node], {"x": [None, *x[1:]]}, ["y"], inputs, opset=21, ir=10)


FEATURES = {"scale": np.linspace(0.5, 2, 8, dtype=np.float32), "bias": np.linspace(-1, 1, 8, dtype=np.float32)}
SCALE = {"scale": FEATURES["scale"]}
FUSED = {
    "LayerNormalization": (fused("LayerNormalization", (3, 5, 8), FEATURES, epsilon=1e-5), "layer_norm", (3, 5, 8)),
    "SimplifiedLayerNormalization": (
        fused("SimplifiedLayerNormalization", (3, 5, 8), SCALE, epsilon=1e-5),
        "rms_norm",
        (3, 5, 8),
    ),
    "InstanceNormalization": (
        fused("InstanceNormalization", (3, 8, 20), FEATURES, epsilon=1e-5),
        "layer_norm",
        (3, 8, 20),
    ),
    "GroupNormalization": (
        fused("GroupNormalization", (3, 8, 20), FEATURES, epsilon=1e-5, num_groups=2),
        "layer_norm",
        (3, 8, 20),
    ),
}


@pytest.mark.parametrize("op", FUSED)
@pytest.mark.parametrize("size", [1.0, 200.0])
def test_a_fused_norm_stores_its_sums(op: str, size: float, tmp_path: Path) -> None:
    """As the simulation of its groups, which adds in a tree: the same overflow, and the same error."""
    proto, kind, shape = FUSED[op]
    onnx.save(proto, tmp_path / "m.onnx")
    x = (np.random.default_rng(1).normal(size=shape) * size).astype(np.float32)
    x = np.clip(x, -250, 250)  # no square overflows by itself
    model, batch = mixed(tmp_path / "m.onnx"), Batch((x,))
    assert model.norms == ("the_norm",) and model.nodes("the_norm") == ("the_norm",)
    rows = {"InstanceNormalization": 24, "GroupNormalization": 6}.get(op, 15)
    exact, made = model.exact(batch), model.run(batch, frozenset(), stored_sums=True)["y"]
    affine = [value.reshape((1, -1, 1) if shape[1] == 8 else (8,)) for value in FEATURES.values()]
    scale, bias = affine[0], affine[1] if len(proto.graph.initializer) > 1 else 0.0
    simulated = in_half(x.reshape(rows, -1), kind, 1e-5, "pairwise", "fp16").reshape(shape) * scale + bias
    want, got = relative_error(exact["y"], simulated), relative_error(exact["y"], made)
    assert got == pytest.approx(want, rel=0.02, abs=1e-3)
    assert (got > 0.3) == (size > 1.0)
    for kept, stored in ((frozenset({"the_norm"}), True), (frozenset[str](), False)):
        assert relative_error(exact["y"], model.run(batch, kept, stored_sums=stored)["y"]) < 1e-3


def test_a_norm_in_single_operators_stores_the_sum_behind_its_mean(tmp_path: Path) -> None:
    """32 values of 100: no square overflows and the mean of the squares fits, but their sum, 320,000, does not."""
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(RMSNorm(32), (torch.ones(2, 32),), path, dynamo=False, input_names=["x"], opset_version=17)
    model, batch = mixed(path), Batch((np.full((2, 32), 100.0, np.float32),))
    (name,) = model.norms
    assert len(model.nodes(name)) > 1
    exact = model.exact(batch)
    assert output_error(exact, model.run(batch, frozenset(), stored_sums=True)) == 1.0
    assert output_error(exact, model.run(batch, frozenset(), stored_sums=False)) < 2e-3
    assert output_error(exact, model.run(batch, frozenset({name}), stored_sums=True)) < 2e-3


def test_a_mask_beyond_the_format_is_stored_as_its_largest_number(tmp_path: Path) -> None:
    """0 x -inf would be NaN."""
    nodes = [helper.make_node("Mul", ["x", "mask"], ["y"], name="mul")]
    path = write(tmp_path, nodes, {"x": [None, 4]}, ["y"], {"mask": np.full(4, np.finfo(np.float32).min)})
    masked, batch = mixed(path), Batch((np.zeros((2, 4), np.float32),))
    np.testing.assert_array_equal(masked.run(batch, frozenset(), stored_sums=True)["y"], 0.0)
    assert masked.first_lost(batch) is None
    assert masked.first_lost(Batch((np.full((2, 4), 2.0, np.float32),))) == "mul"


@pytest.mark.filterwarnings("ignore")
def test_a_model_in_half_precision_is_told_to_come_in_float32(tmp_path: Path) -> None:
    path = exported(Transformer(), tmp_path / "m.onnx")
    onnx.save(sorted_nodes(float16.convert_float_to_float16(onnx.load(path), keep_io_types=True)), tmp_path / "h.onnx")
    with pytest.raises(InputError, match="half precision already"):
        mixed(tmp_path / "h.onnx")
    report = normdiag.inspect(tmp_path / "h.onnx", inputs(), target="fp16")
    assert report.half is not None and report.half.plan is None
    assert "half precision already" in (report.half.why_no_plan or "")


@pytest.mark.filterwarnings("ignore")
def test_the_code_of_the_docs_makes_a_healthy_model_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, x = exported(Transformer(RMSNorm, 1000.0), tmp_path / "model.onnx"), inputs(4)
    plan = normdiag.inspect(path, x, target="fp16").half.plan  # type: ignore[union-attr]
    assert plan is not None
    page = (Path(__file__).parents[3] / "docs" / "half-precision.md").read_text(encoding="utf-8")
    code = next(block.split("```")[0] for block in page.split("```python")[1:] if "convert_float" in block)
    names = [node for each in plan.kept for node in each.nodes]
    line = next(line for line in code.splitlines() if line.startswith("keep ="))
    monkeypatch.chdir(tmp_path)
    exec(code.replace(line, f"keep = {names!r}"), {})
    exact = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x})[0]
    with np.errstate(all="ignore"):
        made = ReferenceEvaluator(onnx.load(tmp_path / "mixed.onnx")).run(None, {"x": x})[0]
    assert output_error({"y": exact}, {"y": made}) < 2 * plan.planned
    from onnxruntime import InferenceSession

    run = InferenceSession(tmp_path / "mixed.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    assert output_error({"y": exact}, {"y": run}) < 2 * plan.planned
