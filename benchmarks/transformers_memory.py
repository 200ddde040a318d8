"""What folding a Hugging Face checkpoint takes of memory: a Llama of random numbers, in shards, made and folded.

    python -m benchmarks.transformers_memory FOLDER small     # 0.16 billion weights, 0.3 GB
    python -m benchmarks.transformers_memory FOLDER 1b        # as Llama-3.2-1B: 2.5 GB, and 3 GB for the result
    python -m benchmarks.transformers_memory FOLDER 7b --no-verify      # as Llama-2-7B: 27 GB of disk in all

FOLDER must not exist, and is gone at the end. The fold runs in a process of its own, whose largest memory is printed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Tensors = dict[str, NDArray[ml_dtypes.bfloat16]]
ALLOWED = 500e6
_ROWS = 4096
_CHILD = """
import resource, sys, normdiag
result = normdiag.fold(sys.argv[1], output=sys.argv[2], norms=("layer",), verify=sys.argv[3] == "True")
checked = result.verification
assert checked is None or checked.passed
error = "" if checked is None else f"{checked.error:.1e} / {checked.bound:.1e}"
print(len(result.plan.steps), result.plan.norms, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, error)
"""


@dataclass(frozen=True)
class LlamaShape:
    """The sizes of a Llama."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = False

    @property
    def config(self) -> dict[str, object]:
        """What config.json says."""
        return {
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
            "hidden_size": self.hidden, "intermediate_size": self.inner, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads, "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
        }  # fmt: skip


SHAPES = {
    "tiny": LlamaShape(256, 512, 2, 4, 2, 2_000),
    "small": LlamaShape(1024, 2816, 8, 16, 8, 32_000),
    "1b": LlamaShape(2048, 8192, 16, 32, 8, 128_256, tied=True),
    "7b": LlamaShape(4096, 11008, 32, 32, 32, 32_000),
}


def make(folder: Path, shape: LlamaShape) -> int:
    """Write the checkpoint, one shard for each block, and return the bytes of its largest tensor."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(shape.config))
    where, largest = {}, 0
    for number, tensors in enumerate(_shards(shape, np.random.default_rng(0))):
        name = f"model-{number:05d}.safetensors"
        save_file(tensors, folder / name, metadata={"format": "pt"})
        where.update(dict.fromkeys(tensors, name))
        largest = max(largest, *(each.nbytes for each in tensors.values()))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return largest


def _shards(shape: LlamaShape, rng: np.random.Generator) -> Iterator[Tensors]:
    hidden, inner, kv = shape.hidden, shape.inner, shape.hidden // shape.heads * shape.kv_heads
    linear = {
        **{f"self_attn.{name}_proj": (rows, hidden) for name, rows in (("q", hidden), ("k", kv), ("v", kv))},
        **{f"mlp.{name}_proj": (inner, hidden) for name in ("gate", "up")},
        "self_attn.o_proj": (hidden, hidden), "mlp.down_proj": (hidden, inner),
    }  # fmt: skip
    yield {
        "model.embed_tokens.weight": _weight(rng, shape.vocabulary, hidden),
        "model.norm.weight": _gamma(rng, hidden),
    }
    for layer in range(shape.layers):
        yield {
            **{f"model.layers.{layer}.{name}.weight": _weight(rng, *size) for name, size in linear.items()},
            **{
                f"model.layers.{layer}.{name}_layernorm.weight": _gamma(rng, hidden)
                for name in ("input", "post_attention")
            },
        }
    if not shape.tied:
        yield {"lm_head.weight": _weight(rng, shape.vocabulary, hidden)}


def _weight(rng: np.random.Generator, rows: int, columns: int) -> NDArray[ml_dtypes.bfloat16]:
    values = np.empty((rows, columns), ml_dtypes.bfloat16)
    for start in range(0, rows, _ROWS):
        piece = values[start : start + _ROWS]
        piece[:] = rng.standard_normal(piece.shape, dtype=np.float32) * columns**-0.5
    return values


def _gamma(rng: np.random.Generator, size: int) -> NDArray[ml_dtypes.bfloat16]:
    return (1.0 + 0.3 * rng.standard_normal(size)).astype(ml_dtypes.bfloat16)


def measured(folder: Path, shape: LlamaShape, *, verify: bool) -> tuple[int, int, str]:
    """The bytes of the largest tensor, those of the process at its largest, and error and bound of the verification."""
    try:
        largest = make(folder / "model", shape)
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            _CHILD,
            str(folder / "model"),
            str(folder / "folded"),
            str(verify),
        ]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        folded, norms, peak, *errors = said.split(maxsplit=3)
        assert folded == norms
        return largest, int(peak), "".join(errors)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: list[str]) -> None:
    """Print one line."""
    folder, name, *others = arguments
    largest, peak, errors = measured(Path(folder), SHAPES[name], verify="--no-verify" not in others)
    allowed = 3 * largest + ALLOWED
    print(
        f"{name}: largest tensor {largest / 1e6:,.0f} MB, allowed {allowed / 1e6:,.0f} MB, peak {peak / 1e6:,.0f} MB",
        errors,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
