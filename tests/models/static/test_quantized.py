"""Checkpoints of quantization tools: their norms are read, and what is packed is counted and never taken for a norm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import normdiag
from normdiag.errors import InputError
from normdiag.models.load import UNQUANTIZED
from normdiag.models.static.quantized import quantization
from normdiag.render.json import to_json
from normdiag.render.text import render_text
from normdiag.report.inspect import inspect_document
from tests.models.static.packed import (
    LINEAR,
    LLAMA,
    NORMS,
    PARAMETERS,
    WEIGHTS,
    WIDTH,
    awq,
    bitsandbytes,
    checkpoint,
    gptq,
    int8,
    mxfp4,
    norms,
    packed_int32,
)

Arrays = dict[str, np.ndarray]
BITSANDBYTES = {"quant_method": "bitsandbytes"}
CASES: list[tuple[str, Arrays, dict[str, Any], int]] = [
    ("bitsandbytes nf4", bitsandbytes(), BITSANDBYTES, PARAMETERS),
    ("bitsandbytes fp4", bitsandbytes("fp4"), BITSANDBYTES, PARAMETERS),
    ("bitsandbytes int8", int8(), BITSANDBYTES, PARAMETERS),
    ("GPTQ 4 bit", gptq(), {"quant_method": "gptq", "bits": 4}, PARAMETERS + WIDTH),
    ("GPTQ 3 bit", gptq(3), {"quant_method": "gptq", "bits": 3}, PARAMETERS + WIDTH),
    ("GPTQ 8 bit", gptq(8), {"quant_method": "gptq", "bits": 8}, PARAMETERS + WIDTH),
    ("AWQ 4 bit", awq(), {"quant_method": "awq", "w_bit": 4}, PARAMETERS),
    ("compressed-tensors", packed_int32(), {"quant_method": "compressed-tensors"}, PARAMETERS),
    ("MXFP4", mxfp4(), {"quant_method": "mxfp4"}, PARAMETERS),
]


@pytest.mark.parametrize(("how", "tensors", "settings", "parameters"), CASES, ids=[case[0] for case in CASES])
def test_a_folder(tmp_path: Path, how: str, tensors: Arrays, settings: Mapping[str, Any], parameters: int) -> None:
    report = normdiag.inspect(checkpoint(tmp_path / "model", tensors, settings))
    assert report.model.quantized == how and report.model.parameters == parameters
    assert [(each.layer.name, each.layer.kind, each.layer.eps) for each in report.layers] == [
        (name, "rms_norm", 1e-6) for name in NORMS
    ]
    assert report.layers[0].layer.gamma is not None and report.layers[0].layer.gamma[-1] == 1.5
    assert not report.findings and report.verdict == "not_measured"
    assert to_json(report)["model"]["quantized"] == how
    assert f"(quantized: {how})" in " ".join(render_text(inspect_document(report), width=200, color=False).split())


@pytest.mark.parametrize(("how", "tensors", "settings", "parameters"), CASES, ids=[case[0] for case in CASES])
def test_without_a_config(
    tmp_path: Path, how: str, tensors: Arrays, settings: Mapping[str, Any], parameters: int
) -> None:
    """The tensors alone tell how they are packed, their bits included."""
    save_file({**norms(), **tensors}, tmp_path / "x.safetensors")
    report = normdiag.inspect(tmp_path / "x.safetensors")
    assert report.model.quantized == how and report.model.parameters == parameters
    assert [(each.layer.name, each.layer.kind) for each in report.layers] == [(name, "rms_norm") for name in NORMS]


def test_weights_of_any_dtype_hold_two_values_a_byte() -> None:
    """bnb_4bit_quant_storage: what FSDP needs to shard them."""
    tensors = bitsandbytes()
    tensors[f"{LINEAR}.weight"] = np.zeros((WEIGHTS // 8, 1), np.float32)
    found = quantization(tensors, None)
    assert found is not None and sum(found.sizes.values()) == WEIGHTS and set(found.sizes) == set(tensors)


def test_a_faulty_norm_is_found_among_packed_weights(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", {**gptq(), f"{NORMS[0]}.weight": np.full(WIDTH, np.nan, np.float16)}, None)
    assert [(each.rule, each.layer) for each in normdiag.inspect(folder).findings] == [("ND101", NORMS[0])]


def test_packed_tensors_named_as_norms_are_none() -> None:
    """A projection called norm_proj, whose bytes FSDP stores as floats."""
    tensors = {name.replace("down_proj", "norm"): each for name, each in bitsandbytes().items()}
    path = LINEAR.replace("down_proj", "norm")
    tensors[f"{path}.weight"] = np.ones((WEIGHTS // 8, 1), np.float32)
    save = quantization(tensors, None)
    assert save is not None and f"{path}.weight" in save.sizes


def test_why_it_is_not_run(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "model", bitsandbytes(), BITSANDBYTES)
    report = normdiag.inspect(folder, data=["random"])
    assert report.why_not_run == f"its weights are quantized (bitsandbytes nf4), {UNQUANTIZED}" and report.unused_data
    with pytest.raises(InputError, match=r"quantized \(bitsandbytes nf4\)"):
        normdiag.recalibrate(folder, data=["random"])


def test_a_method_that_is_not_known_is_named(tmp_path: Path) -> None:
    report = normdiag.inspect(checkpoint(tmp_path / "model", {}, {"quant_method": "hqq", "bits": 2}))
    assert report.model.quantized == "hqq 2 bit" and len(report.layers) == 2
    assert "the layout of its packed weights is not known here" in report.model.notes


def test_packed_weights_are_compared(tmp_path: Path) -> None:
    one, other = checkpoint(tmp_path / "one", gptq(), None), gptq()
    other[f"{LINEAR}.qweight"][0, 0] = 1
    assert not normdiag.diff(one, one).changed
    assert [each.a for each in normdiag.diff(one, checkpoint(tmp_path / "two", other, None)).changed] == [LINEAR]


@pytest.mark.parametrize(
    "tensors",
    [
        {f"{LINEAR}.qweight": np.zeros((0, 4), np.int32), f"{LINEAR}.scales": np.zeros((), np.float16)},
        {
            f"{LINEAR}.qweight": np.zeros((), np.int32),
            f"{LINEAR}.scales": np.zeros(0, np.float16),
            f"{LINEAR}.qzeros": np.zeros((), np.int32),
        },
        {**packed_int32(), f"{LINEAR}.weight_shape": np.array([2**40, 2**40], np.int64)},
        {**packed_int32(), f"{LINEAR}.weight_shape": np.array([-5, 3], np.int64)},
        {f"{LINEAR}.weight.quant_state.bitsandbytes__\x1b[31m": np.zeros(3, np.uint8)},
        {f"{LINEAR}.SCB": np.zeros(3, np.float32), f"{LINEAR}.weight": np.zeros(3, np.float32)},
    ],
)
def test_tensors_that_contradict_each_other(tmp_path: Path, tensors: Arrays) -> None:
    """No more weights are counted than the file could hold, at one bit each."""
    report = normdiag.inspect(checkpoint(tmp_path / "model", tensors, {"quant_method": "\x1b[31m", "bits": True}))
    stored = sum(each.nbytes for each in {**norms(), **tensors}.values())
    assert 0 <= (report.model.parameters or 0) <= 8 * stored and [each.layer.name for each in report.layers] == [*NORMS]
    assert report.model.quantized and report.model.quantized.isprintable()


@pytest.mark.parametrize(
    ("config", "kind", "eps"),
    [
        ({"rms_norm_eps": 1e-5}, "rms_norm", 1e-5),
        ({"text_config": {"rms_norm_eps": 1e-5}}, "rms_norm", 1e-5),
        ({"rms_norm_eps": 1e-5, "vision_config": {"rms_norm_eps": 1e-6}}, "rms_norm", None),
        ({"layer_norm_eps": 1e-5}, "rms_norm", None),  # T5 calls so what is an RMSNorm
        ({"rms_norm_eps": "1e-5"}, "rms_norm", None),
        ({"rms_norm_eps": float("nan")}, "rms_norm", None),
    ],
)
def test_norms_of_a_weight_alone(tmp_path: Path, config: dict[str, Any], kind: str, eps: float | None) -> None:
    folder = checkpoint(tmp_path / "model", {}, None)
    (folder / "config.json").write_text(json.dumps({"model_type": "x", **config}))
    assert {(each.layer.kind, each.layer.eps) for each in normdiag.inspect(folder).layers} == {(kind, eps)}


@pytest.mark.parametrize(
    ("config", "kind", "eps"),
    [
        ({"layer_norm_eps": 1e-12}, "layer_norm", 1e-12),
        ({"layer_norm_epsilon": 1e-5}, "layer_norm", 1e-5),
        ({"layer_norm_eps": 1e-5, "feat_extract_norm": "group"}, "layer_or_group_norm", None),
        (LLAMA, "layer_or_group_norm", None),
    ],
)
def test_norms_of_weight_and_bias(tmp_path: Path, config: dict[str, Any], kind: str, eps: float | None) -> None:
    biases = {f"{path}.bias": np.zeros(WIDTH, np.float16) for path in NORMS}
    folder = checkpoint(tmp_path / "model", biases, None)
    (folder / "config.json").write_text(json.dumps({"model_type": "x", **config}))
    assert {(each.layer.kind, each.layer.eps) for each in normdiag.inspect(folder).layers} == {(kind, eps)}


def test_one_value_an_element_with_scales_beside() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype, how in ((ml_dtypes.float8_e4m3fn, "fp8"), (np.int8, "int8")):
        tensors = {"a.weight": np.zeros((4, 8), dtype), "a.weight_scale_inv": np.ones((1, 1), np.float32)}
        found = quantization(tensors, None)
        assert found is not None and found.how == how and found.sizes == {"a.weight": 32, "a.weight_scale_inv": 0}
    assert quantization({"a.weight": np.zeros(4, np.float32), "a.weight_scale": np.ones(1, np.float32)}, None) is None
