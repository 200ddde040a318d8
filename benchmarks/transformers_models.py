"""Transformers of many kinds, made tiny from transformers' own configurations, with norms that do something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

VOCABULARY = 97
_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_TEXT = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
_HEADS = {"num_attention_heads": 4, "max_position_embeddings": 64}
_DECODER = {**_TEXT, **_HEADS, **_IDS, "num_key_value_heads": 2}
_IMAGE = {"image_size": 32, "num_labels": 5}
_SPEECH = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in
           (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))}  # fmt: skip


def _config(name: str, **entries: Any) -> Any:
    return getattr(transformers, name)(**entries)


# The class of each model and its configuration.
MODELS: Mapping[str, tuple[str, Callable[[], Any]]] = {
    "Llama": ("LlamaForCausalLM", lambda: _config("LlamaConfig", **_DECODER, tie_word_embeddings=False)),
    "Llama, tied": ("LlamaForCausalLM", lambda: _config("LlamaConfig", **_DECODER, tie_word_embeddings=True)),
    "Qwen2": ("Qwen2ForCausalLM", lambda: _config("Qwen2Config", **_DECODER)),
    "Qwen3": ("Qwen3ForCausalLM", lambda: _config("Qwen3Config", **_DECODER, head_dim=8)),
    "Gemma2": ("Gemma2ForCausalLM", lambda: _config("Gemma2Config", **_DECODER, head_dim=8)),
    "Gemma3": ("Gemma3ForCausalLM", lambda: _config("Gemma3TextConfig", **_DECODER, head_dim=8)),
    "Mistral": ("MistralForCausalLM", lambda: _config("MistralConfig", **_DECODER)),
    "GraniteMoe": (
        "GraniteMoeForCausalLM",
        lambda: _config("GraniteMoeConfig", **_DECODER, num_local_experts=4, num_experts_per_tok=2),
    ),
    "Phi": ("PhiForCausalLM", lambda: _config("PhiConfig", **_DECODER)),
    "OPT": (
        "OPTForCausalLM",
        lambda: _config(
            "OPTConfig", vocab_size=VOCABULARY, hidden_size=32, ffn_dim=64, num_hidden_layers=2, **_HEADS, **_IDS,
            word_embed_proj_dim=32,
        ),
    ),
    "GPT-2": (
        "GPT2LMHeadModel",
        lambda: _config("GPT2Config", vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, **_IDS),
    ),
    "BERT": ("BertForSequenceClassification", lambda: _config("BertConfig", **_TEXT, **_HEADS)),
    "ViT": (
        "ViTForImageClassification",
        lambda: _config(
            "ViTConfig", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            patch_size=8, **_IMAGE,
        ),
    ),
    "T5": (
        "T5ForConditionalGeneration",
        lambda: _config("T5Config", vocab_size=VOCABULARY, d_model=32, d_ff=64, d_kv=8, num_layers=2, num_heads=4),
    ),
    "Whisper": (
        "WhisperForConditionalGeneration",
        lambda: _config(
            "WhisperConfig", vocab_size=VOCABULARY, d_model=32, max_source_positions=50, max_target_positions=32,
            num_mel_bins=16, decoder_start_token_id=1, **_SPEECH, **_IDS,
        ),
    ),
    "ConvNeXt": (
        "ConvNextForImageClassification",
        lambda: _config("ConvNextConfig", hidden_sizes=[16, 32], depths=[1, 1], num_stages=2, patch_size=4, **_IMAGE),
    ),
}  # fmt: skip


def saved(name: str, folder: Path) -> type[Any]:
    """Save a model with seeded weights as a checkpoint, and return its class."""
    kind, config = MODELS[name]
    made: type[Any] = getattr(transformers, kind)
    torch.manual_seed(0)
    module = made(config()).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, each in module.named_parameters():
            if each.dim() == 1:  # gamma, beta and other biases, which are 1 and 0 in a model that was not trained
                each.add_(torch.randn(each.shape, generator=generator) * (0.3 if "norm" in path.lower() else 0.1))
            else:
                each.mul_(3)
    module.save_pretrained(folder)
    return made


def example(config: Any, main: str, samples: int = 3) -> dict[str, torch.Tensor]:
    """Seeded inputs that a model of this configuration takes; its main one is called `main`."""
    generator = torch.Generator().manual_seed(5)
    given: dict[str, torch.Tensor] = {}
    if main == "pixel_values":
        shape = (samples, config.num_channels, config.image_size, config.image_size)
        given[main] = torch.randn(shape, generator=generator)
    elif main == "input_features":
        shape = (samples, config.num_mel_bins, 2 * config.max_source_positions)
        given[main] = torch.randn(shape, generator=generator)
    else:
        given[main] = torch.randint(0, config.vocab_size, (samples, 13), generator=generator)
    if config.is_encoder_decoder:
        given["decoder_input_ids"] = torch.randint(0, config.vocab_size, (samples, 9), generator=generator)
    return given
