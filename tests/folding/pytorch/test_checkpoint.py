"""Hugging Face checkpoints folded into checkpoints of the same architecture, loaded again by transformers itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import normdiag
from normdiag.errors import InputError, UsageError
from normdiag.folding.pytorch import checkpoint
from normdiag.records import FoldReport

transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
SIZES = {"vocab_size": 61, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def save(made: Any, folder: Path, *, dtype: torch.dtype = torch.float32, shards: str = "1GB") -> Path:
    """With norms that do something, in one file or several."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, each in made.named_parameters():
            if each.dim() == 1:
                each.add_(0.3 * torch.randn(each.shape, generator=generator))
            elif "emb" not in name:
                each.mul_(10)
    made.to(dtype).eval().save_pretrained(folder, max_shard_size=shards)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def llama(folder: Path, *, tied: bool = False, **how: Any) -> Path:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, num_key_value_heads=1, tie_word_embeddings=tied)
    return save(transformers.LlamaForCausalLM(config), folder, **how)


def gemma(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.Gemma2Config(**SIZES, num_key_value_heads=1, head_dim=8, pad_token_id=0)
    return save(transformers.Gemma2ForCausalLM(config), folder)


def gpt2(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=61, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    return save(transformers.GPT2LMHeadModel(config), folder)


def fold(source: Path, target: Path, **more: Any) -> FoldReport:
    return normdiag.fold(source, output=target, norms=("layer",), **more).report


def difference(one: Path, other: Path) -> float:
    """Of the logits of both, each loaded by transformers and run in float64, as a share of the largest."""
    name = json.loads((one / "config.json").read_text())["architectures"][0]
    loaded = [getattr(transformers, name).from_pretrained(each).double().eval() for each in (one, other)]
    ids = torch.randint(0, 61, (2, 9), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        before, after = (module(input_ids=ids).logits for module in loaded)
    return float((before - after).abs().max() / before.abs().max())


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found.update({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return found


def test_the_same_class_with_neutral_norms(tmp_path: Path) -> None:
    source, target = llama(tmp_path / "model"), tmp_path / "folded"
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    report = fold(source, target)
    assert report.verification is not None and report.verification.passed
    assert report.written == str(target) and len(report.plan.steps) == report.plan.norms == 5
    assert difference(source, target) < 1e-6
    found = tensors(target)
    gammas = [value for name, value in found.items() if "norm" in name]
    assert len(gammas) == 5 and all(torch.equal(each, torch.ones(16)) for each in gammas)
    old = tensors(source)
    assert found.keys() == old.keys()
    assert torch.equal(found["model.embed_tokens.weight"], old["model.embed_tokens.weight"])
    assert (target / "config.json").read_bytes() == before["config.json"]
    assert (target / "tokenizer.json").read_text() == "{}"
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"model", "folded"}


def test_what_is_put_together_of_stored_parts_keeps_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merged = frozenset({"model.layers.0.self_attn.q_proj.weight"})
    as_stored = checkpoint.open_stored
    monkeypatch.setattr(checkpoint, "open_stored", lambda path: replace(as_stored(path), merged=merged))
    source, target = llama(tmp_path / "model"), tmp_path / "folded"
    report = fold(source, target)
    (refusal,) = report.plan.refusals
    assert refusal.norm == "model.layers.0.input_layernorm" and len(report.plan.steps) == 4
    assert difference(source, target) < 1e-6


def test_gamma_that_is_stored_less_one_becomes_zero(tmp_path: Path) -> None:
    source, target = gemma(tmp_path / "model"), tmp_path / "folded"
    report = fold(source, target)
    assert report.plan.norms == 9 and len(report.plan.steps) == 5
    assert all("is added to" in refusal.reason for refusal in report.plan.refusals)
    assert difference(source, target) < 1e-6
    found = tensors(target)
    assert torch.equal(found["model.norm.weight"], torch.zeros(16))
    post = "model.layers.0.post_attention_layernorm.weight"
    assert torch.equal(found[post], tensors(source)[post])


def test_what_is_tied_gets_a_tensor_of_its_own(tmp_path: Path) -> None:
    source, target = llama(tmp_path / "model", tied=True, shards="8KB"), tmp_path / "folded"
    report = fold(source, target)
    assert len(report.plan.steps) == 5
    assert any("lm_head.weight is no longer tied" in note and "3,904 bytes" in note for note in report.notes)
    assert report.size_after is not None and report.size_before is not None
    assert report.size_after - report.size_before == 61 * 16 * 4
    assert json.loads((target / "config.json").read_text())["tie_word_embeddings"] is False
    old, new = (json.loads((each / "model.safetensors.index.json").read_text()) for each in (source, target))
    assert new["weight_map"].keys() - old["weight_map"].keys() == {"lm_head.weight"}
    assert new["metadata"]["total_size"] - old["metadata"]["total_size"] == 61 * 16 * 4
    assert new["weight_map"]["lm_head.weight"] == old["weight_map"]["model.embed_tokens.weight"]
    assert difference(source, target) < 1e-6


def test_a_beta_that_no_bias_absorbs_stays_with_gamma_gone(tmp_path: Path) -> None:
    source, target = gpt2(tmp_path / "model"), tmp_path / "folded"
    report = fold(source, target)
    assert [step.shift_stays for step in report.plan.steps] == [False] * 4 + [True]
    old, new = tensors(source), tensors(target)
    assert torch.equal(new["transformer.ln_f.weight"], torch.ones(16))
    assert torch.allclose(
        new["transformer.ln_f.bias"], old["transformer.ln_f.bias"] / old["transformer.ln_f.weight"], rtol=1e-6
    )
    assert torch.equal(new["transformer.h.0.ln_1.bias"], torch.zeros(16))
    assert difference(source, target) < 1e-6


def test_half_precision_is_kept_and_cast_once(tmp_path: Path) -> None:
    source, target = llama(tmp_path / "model", dtype=torch.bfloat16), tmp_path / "folded"
    report = fold(source, target)
    assert report.verification is not None and report.verification.dtype == "bfloat16"
    old, new = tensors(source), tensors(target)
    assert {each.dtype for each in new.values()} == {torch.bfloat16}
    gamma, name = old["model.layers.0.input_layernorm.weight"].double(), "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(new[name], (old[name].double() * gamma).to(torch.bfloat16))


def test_what_overflows_is_not_folded(tmp_path: Path) -> None:
    source = llama(tmp_path / "model", dtype=torch.float16)
    module = transformers.LlamaForCausalLM.from_pretrained(source)
    with torch.no_grad():
        module.model.layers[1].input_layernorm.weight[3] = 60000.0
        module.model.layers[1].self_attn.q_proj.weight[:, 3] = 4.0
    module.save_pretrained(source)
    report = normdiag.fold(source, output=tmp_path / "folded", norms=("layer",), verify=False).report
    assert len(report.plan.steps) == 4
    (refusal,) = report.plan.refusals
    assert refusal.norm == "model.layers.1.input_layernorm" and "overflow float16" in refusal.reason


def test_shards_of_torch_are_written_too(tmp_path: Path) -> None:
    source, target = llama(tmp_path / "model"), tmp_path / "folded"
    torch.save(tensors(source), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    fold(source, target)
    assert {path.name for path in target.iterdir()} >= {"pytorch_model.bin", "config.json"}
    loaded = torch.load(target / "pytorch_model.bin", weights_only=True)
    assert torch.equal(loaded["model.norm.weight"], torch.ones(16))


def test_weights_before_the_fold_are_left_out(tmp_path: Path) -> None:
    source, target = llama(tmp_path / "model"), tmp_path / "folded"
    (source / "tf_model.h5").write_bytes(b"old")
    (source / "original").mkdir()
    (source / "original" / "consolidated.00.pth").write_bytes(b"old")
    (source / "original" / "params.json").write_text("{}")
    report = fold(source, target)
    assert any("tf_model.h5" in note and "consolidated.00.pth" in note for note in report.notes)
    assert (target / "original" / "params.json").is_file()
    assert not (target / "tf_model.h5").exists() and not (target / "original" / "consolidated.00.pth").exists()


def test_a_folder_that_exists_is_replaced_only_by_force(tmp_path: Path) -> None:
    source, target = llama(tmp_path / "model"), tmp_path / "folded"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists; --force"):
        fold(source, target)
    with pytest.raises(InputError, match="no Hugging Face checkpoint"):
        fold(source, target, force=True)
    assert (target / "mine.txt").read_text() == "mine"
    (target / "mine.txt").unlink()
    target.rmdir()
    fold(source, target)
    (target / "stale.txt").write_text("")
    fold(source, target, force=True)
    assert not (target / "stale.txt").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"model", "folded"}


@pytest.mark.parametrize("place", ["model", "model/folded", "."])
def test_never_where_the_original_is(place: str, tmp_path: Path) -> None:
    source = llama(tmp_path / "model")
    with pytest.raises((UsageError, InputError), match=r"exists|lies in|holds it|no Hugging Face"):
        fold(source, tmp_path / place, force=True)


def test_norms_that_would_still_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --norms layer"):
        normdiag.fold(llama(tmp_path / "model"), output=tmp_path / "folded")


def test_a_failing_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from normdiag.folding.pytorch.checkpoint import write

    source = llama(tmp_path / "model")

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "copy_safetensors", fails)
    with pytest.raises(InputError, match="folded: cannot be written: No space left"):
        fold(source, tmp_path / "folded")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_was_written_wrongly_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from normdiag.folding.pytorch.checkpoint import write

    source = llama(tmp_path / "model")
    copy = write.copy_safetensors
    monkeypatch.setattr(write, "copy_safetensors", lambda old, new, changed, added: copy(old, new, {}, added))
    with pytest.raises(InputError, match="does not give what was verified"):
        fold(source, tmp_path / "folded")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_verified_on_the_users_tokens_and_shapes(tmp_path: Path) -> None:
    source = llama(tmp_path / "model")
    ids = np.random.default_rng(0).integers(0, 61, (5, 11))
    report = normdiag.fold(source, [ids], output=tmp_path / "one", norms=("layer",)).report
    assert report.verification is not None and report.verification.samples == 5
    shaped = normdiag.DataOptions(input_shapes=("7:int64",))
    report = normdiag.fold(source, output=tmp_path / "two", norms=("layer",), data_options=shaped).report
    assert report.verification is not None and report.verification.passed


@pytest.mark.parametrize(
    "left", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"]
)
def test_a_small_fault_is_not_hidden_by_half_precision(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tensor that keeps its old values, with gammas near 1: less than what rounding to bfloat16 explains."""
    from normdiag.folding.pytorch.checkpoint import foldable

    torch.manual_seed(0)
    made = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, num_key_value_heads=1))
    with torch.no_grad():
        for name, each in made.named_parameters():
            each.add_(0.02 * torch.randn(each.shape)) if "norm" in name else each.mul_(10)
    source = tmp_path / "model"
    made.to(torch.bfloat16).eval().save_pretrained(source)
    right = fold(source, tmp_path / "right").verification
    assert right is not None and right.passed and "in float64, before the weights are rounded" in (right.note or "")
    new_values = foldable.new_values
    monkeypatch.setattr(
        foldable, "new_values", lambda *given: {k: v for k, v in new_values(*given).items() if k != left}
    )
    wrong = fold(source, tmp_path / "wrong")
    assert wrong.verification is not None and not wrong.verification.passed
    assert wrong.written is None and not (tmp_path / "wrong").exists()
