"""Small GGUF files, written from the format's description."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

# The numbers of ggml's types, and of the types of values.
F32, F16, Q8_0, BF16 = 0, 1, 8, 30
UINT32, FLOAT32, STRING, ARRAY, UINT64 = 4, 6, 8, 9, 10
RMS = "llama.attention.layer_norm_rms_epsilon"
LAYER = "gpt2.attention.layer_norm_epsilon"

Tensor = tuple[int, Sequence[int], bytes]


def text(value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(content)) + content


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def number(key: str, value: float) -> bytes:
    return entry(key, FLOAT32, struct.pack("<f", value))


def tokens(count: int) -> bytes:
    content = b"".join(text(f"t{index}") for index in range(count))
    return entry("tokenizer.ggml.tokens", ARRAY, struct.pack("<IQ", STRING, count) + content)


def plain(array: np.ndarray, kind: int = F32) -> Tensor:
    return kind, array.shape, array.tobytes()


def gguf(entries: Sequence[bytes], tensors: Mapping[str, Tensor], *, version: int = 3, alignment: int = 32) -> bytes:
    """A whole file; shapes from the slowest axis to the fastest."""
    infos, data = b"", b""
    for name, (kind, shape, content) in tensors.items():
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        infos += text(name) + sizes + struct.pack("<IQ", kind, len(data))
        data += content + b"\0" * (-len(content) % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries) + infos
    return head + b"\0" * (-len(head) % alignment) + data


def llama(gamma: float = 1.0, blocks: int = 1, packed: bool = True) -> bytes:
    """Norms as llama.cpp names them, and a projection of 64 x 64 in Q8_0: 34 bytes for 32 values."""
    return gguf([text_of_architecture(), number(RMS, 1e-6), tokens(5)], block_tensors(gamma, blocks, packed))


def text_of_architecture() -> bytes:
    return entry("general.architecture", STRING, text("llama"))


def block_tensors(gamma: float = 1.0, blocks: int = 1, packed: bool = True) -> dict[str, Tensor]:
    tensors = {}
    for index in range(blocks):
        path = f"blk.{index}"
        tensors[f"{path}.attn_norm.weight"] = plain(np.full(64, gamma, np.float32))
        tensors[f"{path}.attn_q_norm.weight"] = plain(np.full(16, 1.5, np.float16), F16)
        weights = np.ones((64, 64), np.float16)
        projection = (Q8_0, (64, 64), bytes(64 * 2 * 34)) if packed else plain(weights, F16)
        tensors[f"{path}.attn_q.weight"] = projection
        tensors[f"{path}.ffn_norm.weight"] = plain(np.full(64, 0x4000, np.uint16), BF16)
    tensors["output_norm.weight"] = plain(np.linspace(0.5, 2, 64, dtype=np.float32))
    return tensors
