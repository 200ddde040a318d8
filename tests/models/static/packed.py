"""Small checkpoints in the layouts of quantization tools, made of plain tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WIDTH, INNER, GROUP = 64, 128, 32
# down_proj of one block: 128 inputs, 64 outputs; two norms of 64, an embedding of 16 x 64 that nobody packs.
WEIGHTS = INNER * WIDTH
PARAMETERS = WEIGHTS + 2 * WIDTH + 16 * WIDTH
LINEAR = "model.layers.0.mlp.down_proj"
NORMS = ("model.layers.0.input_layernorm", "model.norm")
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rms_norm_eps": 1e-6}


def bitsandbytes(kind: str = "nf4") -> dict[str, np.ndarray]:
    """As `bitsandbytes.functional.QuantState.as_dict(packed=True)` writes it, with double quantization."""
    state = {"quant_type": kind, "blocksize": 64, "dtype": "bfloat16", "shape": [WIDTH, INNER], "nested_blocksize": 256}
    blocks = WEIGHTS // 64
    return {
        f"{LINEAR}.weight": np.zeros((WEIGHTS // 2, 1), np.uint8),
        f"{LINEAR}.weight.absmax": np.zeros(blocks, np.uint8),
        f"{LINEAR}.weight.quant_map": np.zeros(16, np.float32),
        f"{LINEAR}.weight.nested_absmax": np.zeros(1, np.float32),
        f"{LINEAR}.weight.nested_quant_map": np.zeros(256, np.float32),
        f"{LINEAR}.weight.quant_state.bitsandbytes__{kind}": np.frombuffer(json.dumps(state).encode(), np.uint8),
    }


def int8() -> dict[str, np.ndarray]:
    """bitsandbytes' LLM.int8()."""
    return {
        f"{LINEAR}.weight": np.zeros((WIDTH, INNER), np.int8),
        f"{LINEAR}.SCB": np.zeros(WIDTH, np.float32),
        f"{LINEAR}.weight_format": np.array(0, np.uint8),
    }


def gptq(bits: int = 4) -> dict[str, np.ndarray]:
    """As AutoGPTQ's QuantLinear: packed along the inputs."""
    return {
        f"{LINEAR}.qweight": np.zeros((INNER * bits // 32, WIDTH), np.int32),
        f"{LINEAR}.qzeros": np.zeros((INNER // GROUP, WIDTH * bits // 32), np.int32),
        f"{LINEAR}.scales": np.zeros((INNER // GROUP, WIDTH), np.float16),
        f"{LINEAR}.g_idx": np.zeros(INNER, np.int32),
        f"{LINEAR}.bias": np.zeros(WIDTH, np.float16),
    }


def awq() -> dict[str, np.ndarray]:
    """As AutoAWQ's WQLinear_GEMM: packed along the outputs."""
    return {
        f"{LINEAR}.qweight": np.zeros((INNER, WIDTH // 8), np.int32),
        f"{LINEAR}.qzeros": np.zeros((INNER // GROUP, WIDTH // 8), np.int32),
        f"{LINEAR}.scales": np.zeros((INNER // GROUP, WIDTH), np.float16),
    }


def packed_int32() -> dict[str, np.ndarray]:
    """compressed-tensors' pack-quantized."""
    return {
        f"{LINEAR}.weight_packed": np.zeros((WIDTH, INNER // 8), np.int32),
        f"{LINEAR}.weight_scale": np.zeros((WIDTH, INNER // GROUP), np.float16),
        f"{LINEAR}.weight_shape": np.array([WIDTH, INNER], np.int64),
    }


def mxfp4() -> dict[str, np.ndarray]:
    """Experts of gpt-oss."""
    return {
        f"{LINEAR}_blocks": np.zeros((WIDTH, INNER // 32, 16), np.uint8),
        f"{LINEAR}_scales": np.zeros((WIDTH, INNER // 32), np.uint8),
    }


def norms(gamma: float = 1.0) -> dict[str, np.ndarray]:
    """What no tool packs: the norms, and an embedding."""
    kept = {f"{path}.weight": np.linspace(gamma, gamma + 0.5, WIDTH, dtype=np.float16) for path in NORMS}
    return {"model.embed_tokens.weight": np.ones((16, WIDTH), np.float16), **kept}


def checkpoint(folder: Path, tensors: Mapping[str, np.ndarray], quantization: Mapping[str, Any] | None) -> Path:
    """A folder with these tensors and a Llama's config, with `quantization` as its quantization_config."""
    folder.mkdir(exist_ok=True)
    save_file({**norms(), **tensors}, folder / "model.safetensors")
    config = LLAMA if quantization is None else {**LLAMA, "quantization_config": dict(quantization)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
