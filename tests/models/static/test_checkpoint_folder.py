"""Hugging Face folders and indexes of shards are one model, read without transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import normdiag
from normdiag.commands.model_files import find_models
from normdiag.errors import InputError
from normdiag.models.sniff import sniff
from normdiag.models.static import read_checkpoint

TENSORS = {
    f"layers.{index}.norm.{name}": np.full(4, index + 1.0, np.float32)
    for index in range(3)
    for name in ("weight", "bias", "running_mean", "running_var")
}


def sharded(folder: Path, shards: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    where = {}
    for index in range(shards):
        name = f"model-{index + 1:05}-of-{shards:05}.safetensors"
        part = {key: value for key, value in TENSORS.items() if key.startswith(f"layers.{index}.")}
        save_file(part, folder / name)
        where |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "model_type": "bert"}))
    return folder


def test_a_folder_is_one_model(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "model")
    for path in (folder, folder / "model.safetensors.index.json"):
        assert sniff(path) == "hugging-face"
        report = normdiag.inspect(path)
        assert [each.layer.name for each in report.layers] == [f"layers.{index}.norm" for index in range(3)]
        assert report.model.size_bytes == sum(each.stat().st_size for each in folder.glob("*.safetensors"))
        assert "read from 3 shards" in report.model.notes


def test_shards_of_pickles_are_read_too(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    where = {}
    for index in range(2):
        name = f"pytorch_model-{index + 1:05}-of-00002.bin"
        torch.save({f"block{index}.weight": torch.ones(3)}, tmp_path / name)
        where[f"block{index}.weight"] = name
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    assert set(read_checkpoint(tmp_path).tensors) == {"block0.weight", "block1.weight"}


def test_check_counts_it_once(tmp_path: Path) -> None:
    sharded(tmp_path / "one")
    save_file(TENSORS, tmp_path / "two.safetensors")
    found = find_models([tmp_path])
    assert [Path(each).name for each in found.files] == ["two.safetensors", "model.safetensors.index.json"]
    report = normdiag.check([tmp_path])
    assert len(report.models) == 2 and not any(each.error for each in report.models)


def test_a_missing_shard_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "model")
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(InputError, match=r"1 of its 3 shards are missing: model-00002-of-00003\.safetensors"):
        normdiag.inspect(folder)


@pytest.mark.parametrize("file", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "", 3, "a\\b", "x\0y"])
def test_shards_lie_beside_their_index(file: object, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": file}}))
    with pytest.raises(InputError, match="which is no file beside it"):
        normdiag.inspect(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}', "{" * 100_000, "\xff"])
def test_damaged_indexes(text: str, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError):
        normdiag.inspect(folder)


def test_a_tensor_that_the_index_promises_and_no_shard_holds(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "model")
    index = folder / "model.safetensors.index.json"
    document = json.loads(index.read_text())
    document["weight_map"]["ghost"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(document))
    with pytest.raises(InputError, match="lacks the tensor 'ghost'"):
        normdiag.inspect(folder)


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        normdiag.inspect(tmp_path)
