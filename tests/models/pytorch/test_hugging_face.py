"""Hugging Face models are built offline from config.json; what a config could fetch or run is not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import normdiag
from normdiag.errors import InputError
from normdiag.models import LoadOptions, load
from normdiag.models.pytorch.hugging_face import empty_from_config
from normdiag.models.pytorch.plain import RefusedError, build_streamed
from normdiag.models.static import read_checkpoint

transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
RAN = "NORMDIAG_TEST_RAN"


@pytest.fixture(autouse=True)
def nothing_ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(RAN, raising=False)
    yield
    assert RAN not in os.environ


def resnet(folder: Path, **more: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", image_size=64, **more
    )
    module = transformers.ResNetForImageClassification(config).eval()
    module.save_pretrained(folder)
    return module


def bert(folder: Path) -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    module = transformers.BertForMaskedLM(config).eval()
    module.save_pretrained(folder, max_shard_size="30KB")
    return module


MIXTURE = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "num_experts_per_tok": 2,
}  # fmt: skip
MIXTURES = {
    "Mixtral": {"num_local_experts": 11},  # more than ten: by name, 10 comes before 2
    "Qwen3Moe": {"num_experts": 4, "moe_intermediate_size": 16, "head_dim": 8},
}


def mixture(folder: Path, name: str, dtype: torch.dtype = torch.float32) -> Any:
    """Saved with a tensor for each expert, where the module has one for all; norms have weights of their own."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**MIXTURE, **MIXTURES[name])
    kind = getattr(transformers, f"{name}ForCausalLM")
    module = kind._from_config(config, attn_implementation="eager").eval()
    for each, weight in module.named_parameters():
        if "norm" in each:
            torch.nn.init.uniform_(weight, 0.5, 2)
    module.to(dtype).save_pretrained(folder, max_shard_size="30KB")
    if not any("experts.0." in each for each in read_checkpoint(folder).tensors):
        pytest.skip("this transformers saves the experts as its module has them")
    return module


def changed(folder: Path, **entries: Any) -> Path:
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **entries}))
    return folder


def test_it_computes_the_same(tmp_path: Path) -> None:
    module = bert(tmp_path)
    model = load(tmp_path, run=True)
    ids = torch.randint(0, 100, (2, 9))
    with torch.no_grad():
        expected, found = module(ids).logits, model.program(ids).logits
    assert torch.allclose(expected, found, atol=1e-6)
    assert model.program.config._attn_implementation == "eager"


def test_inspected_and_folded_with_nothing_else(tmp_path: Path) -> None:
    resnet(tmp_path / "model")
    report = normdiag.inspect(tmp_path / "model", data=("random",))
    assert report.data is not None
    assert any("3x64x64, as its file says" in note for note in report.model.notes)
    result = normdiag.fold(tmp_path / "model", output=tmp_path / "folded.onnx")
    assert result.verification is not None and result.verification.passed
    assert len(result.plan.steps) == len(report.layers)
    # The file itself, beside its config.json, is the same model.
    assert normdiag.inspect(tmp_path / "model" / "model.safetensors", data=("random",)).data is not None


def test_code_beside_the_checkpoint_never_runs(tmp_path: Path) -> None:
    resnet(tmp_path)
    code = f"import os\nos.environ[{RAN!r}] = '1'\n"
    (tmp_path / "modeling_evil.py").write_text(code)
    changed(
        tmp_path,
        auto_map={"AutoConfig": "modeling_evil.Config", "AutoModel": "evil/repo--modeling_evil.Model"},
        attn_implementation="evil/kernel",
        _attn_implementation="evil/kernel",
    )
    assert load(tmp_path, run=True).program.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"architectures": ["Evil"]}, "has no model class Evil"),
        ({"architectures": ["pipeline"]}, "has no model class pipeline"),
        ({"architectures": ["AutoModel"]}, "has no model class AutoModel"),
        ({"architectures": ["os.system"]}, "has no model class"),
        ({"architectures": None}, "names no architecture"),
        ({"model_type": "bert"}, "is of type bert"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantized"),
        ({"depths": [100_000, 1]}, "more layers"),
        ({"hidden_sizes": [8, 1 << 20]}, "do not fit|cannot be built"),
        ({"hidden_act": "__import__('os')"}, "cannot be built|cannot be used"),
    ],
)
def test_configs_that_are_refused(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    resnet(tmp_path / "model")
    with pytest.raises(InputError, match=message) as caught:
        normdiag.fold(changed(tmp_path / "model", **entries), output=tmp_path / "folded.onnx")
    assert "\n" not in str(caught.value)


def test_an_empty_model_has_everything_but_its_weights(tmp_path: Path) -> None:
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    made = transformers.LlamaForCausalLM(config).eval()
    made.save_pretrained(tmp_path)
    read = read_checkpoint(tmp_path)
    assert read.config is not None
    empty = empty_from_config(read.config, read.tensors)
    assert {each.device.type for each in empty.module.parameters()} == {"meta"}
    buffers = dict(empty.module.named_buffers())
    assert torch.equal(buffers["model.rotary_emb.inv_freq"], made.model.rotary_emb.inv_freq)
    assert "lm_head.weight" not in empty.stored and empty.stored["model.norm.weight"] == "model.norm.weight"
    assert empty.module.lm_head.weight is empty.module.model.embed_tokens.weight
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"  # what others build afterwards is as ever


def test_an_encoder_with_a_decoder_takes_the_tokens_of_both(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=50, d_model=16, d_ff=32, d_kv=8, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    report = normdiag.inspect(tmp_path, data=("random",))
    assert report.data is not None
    assert any("input_ids 16:int64 and decoder_input_ids 16:int64" in note for note in report.model.notes)


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_that_are_stored_apart_are_put_together(name: str, tmp_path: Path) -> None:
    module = mixture(tmp_path / "model", name)
    model = load(tmp_path / "model", run=True)
    ids = torch.randint(0, 64, (2, 9))
    with torch.no_grad():
        assert torch.allclose(module(ids).logits, model.program(ids).logits, atol=1e-6)
    own = model.program.state_dict()
    assert all(torch.equal(value, own[each]) for each, value in module.state_dict().items())
    assert normdiag.inspect(tmp_path / "model", data=("random",)).data is not None


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_folded_mixture_keeps_its_experts_as_they_are_stored(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    mixture(tmp_path / "model", name, dtype)
    result = normdiag.fold(tmp_path / "model", output=tmp_path / "folded", norms=("layer",))
    assert result.verification is not None and result.verification.passed
    assert len(result.plan.steps) == 3  # both before attention, and the last; the router keeps the others
    before, after = (read_checkpoint(tmp_path / each).tensors for each in ("model", "folded"))
    assert before.keys() == after.keys()
    moved = {each for each in before if (before[each] != after[each]).any()}
    parts = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "input_layernorm")
    inside = {f"model.layers.{layer}.{part}.weight" for layer in (0, 1) for part in parts}
    assert moved == {*inside, "model.norm.weight", "lm_head.weight"}
    kind = getattr(transformers, f"{name}ForCausalLM")
    one, other = (kind.from_pretrained(tmp_path / each, dtype=torch.float32) for each in ("model", "folded"))
    ids = torch.randint(0, 64, (2, 9))
    with torch.no_grad():
        expected, found = one(ids).logits, other(ids).logits
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2  # each weight is rounded once
    assert torch.allclose(expected, found, atol=tolerance * float(expected.abs().max()))


@pytest.mark.slow
def test_a_mixture_is_written_as_a_program(tmp_path: Path) -> None:
    mixture(tmp_path / "model", "Mixtral")
    result = normdiag.fold(tmp_path / "model", output=tmp_path / "folded.pt2", norms=("layer",))
    assert result.verification is not None and result.verification.passed and len(result.plan.steps) == 3


@pytest.mark.parametrize(
    ("lost", "message"), [("experts.10.", "in this shape"), ("0.block_sparse_moe.experts.3.w1", "cannot make")]
)
def test_experts_that_are_not_all_there(lost: str, message: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    mixture(folder, "Mixtral")
    held: dict[str, Any] = {}
    for shard in folder.glob("*.safetensors"):
        held |= load_file(shard)
        shard.unlink()
    (folder / "model.safetensors.index.json").unlink()
    save_file({each: value for each, value in held.items() if lost not in each}, folder / "model.safetensors")
    for target in (tmp_path / "folded", tmp_path / "folded.pt2"):
        with pytest.raises(InputError, match=message) as caught:
            normdiag.fold(folder, output=target, norms=("layer",))
        assert "\n" not in str(caught.value) and not target.exists()


def test_experts_in_parts_are_not_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture(tmp_path, "Mixtral")
    monkeypatch.setattr("normdiag.models.pytorch.streamed.require_accelerate", lambda: None)
    with pytest.raises(RefusedError, match="is stored in parts"):
        build_streamed(tmp_path, read_checkpoint(tmp_path), LoadOptions())
