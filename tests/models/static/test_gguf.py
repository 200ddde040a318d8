"""GGUF files: norms read among packed weights; one line, little time and little memory for hostile files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import normdiag
from normdiag.commands.model_files import find_models
from normdiag.errors import InputError, UsageError
from normdiag.models import LoadOptions
from normdiag.models.load import GGUF_NOT_RUN
from normdiag.models.sniff import sniff
from normdiag.models.static import read_gguf
from tests.models.static.gguf_files import (
    ARRAY,
    BF16,
    F32,
    LAYER,
    Q8_0,
    RMS,
    STRING,
    UINT32,
    UINT64,
    block_tensors,
    entry,
    gguf,
    llama,
    number,
    plain,
    text,
    tokens,
)


def written(folder: Path, content: bytes, name: str = "x.gguf") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_norms_among_packed_weights(tmp_path: Path) -> None:
    path = written(tmp_path, llama(0.75))
    assert sniff(path) == "gguf"
    report = normdiag.inspect(path)
    found = [(each.layer.name, each.layer.kind, each.layer.eps, each.layer.channels) for each in report.layers]
    assert found == [
        ("blk.0.attn_norm", "rms_norm", 1e-6, 64),
        ("blk.0.attn_q_norm", "rms_norm", 1e-6, 16),
        ("blk.0.ffn_norm", "rms_norm", 1e-6, 64),
        ("output_norm", "rms_norm", 1e-6, 64),
    ]
    gammas = [each.layer.gamma for each in report.layers]
    assert [float(np.asarray(gamma, np.float32)[-1]) for gamma in gammas if gamma is not None] == [0.75, 1.5, 2.0, 2.0]
    assert report.model.quantized == "Q8_0" and report.model.parameters == 64 * 64 + 3 * 64 + 16
    assert not report.findings and report.why_not_run == GGUF_NOT_RUN


def test_files_without_packed_weights(tmp_path: Path) -> None:
    report = normdiag.inspect(written(tmp_path, llama(packed=False)), data=["random"])
    assert report.model.quantized is None and report.model.parameters == 64 * 64 + 3 * 64 + 16
    assert report.unused_data and report.why_not_run == GGUF_NOT_RUN


@pytest.mark.parametrize("beta", [True, False])
def test_the_metadata_tell_layer_norm_from_rms_norm(tmp_path: Path, beta: bool) -> None:
    """Cohere's LayerNorm has no beta; T5 has both keys, and RMSNorm."""
    tensors = {"output_norm.weight": plain(np.ones(8, np.float32))}
    if beta:
        tensors["output_norm.bias"] = plain(np.zeros(8, np.float32))
    layer, both = gguf([number(LAYER, 1e-5)], tensors), gguf([number(LAYER, 1e-5), number(RMS, 1e-6)], tensors)
    (found,) = normdiag.inspect(written(tmp_path, layer)).layers
    assert (found.layer.kind, found.layer.eps) == ("layer_norm", 1e-5)
    (found,) = normdiag.inspect(written(tmp_path, both)).layers
    assert (found.layer.kind, found.layer.eps) == (("layer_norm", 1e-5) if beta else ("rms_norm", 1e-6))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_rules_on_parameters_look_at_them(tmp_path: Path, value: float) -> None:
    gamma = np.ones(64, np.float32)
    gamma[::2] = value
    tensors = {**block_tensors(), "blk.0.attn_norm.weight": plain(gamma)}
    report = normdiag.inspect(written(tmp_path, gguf([number(RMS, 1e-6)], tensors)))
    assert [(each.rule, each.layer) for each in report.findings] == [("ND101", "blk.0.attn_norm")]


def test_the_other_byte_order(tmp_path: Path) -> None:
    numbers = struct.pack(">I", 3) + struct.pack(">QQ", 1, 1)
    key = struct.pack(">Q", len(RMS)) + RMS.encode() + struct.pack(">If", 6, 1e-6)
    name = b"output_norm.weight"
    info = struct.pack(">Q", len(name)) + name + struct.pack(">IQIQ", 1, 4, 0, 0)
    head = b"GGUF" + numbers + key + info
    content = head + b"\0" * (-len(head) % 32) + np.arange(4, dtype=">f4").tobytes()
    (found,) = normdiag.inspect(written(tmp_path, content)).layers
    assert found.layer.gamma is not None and found.layer.gamma.tolist() == [0, 1, 2, 3] and found.layer.eps == 1e-6


def parts(folder: Path, count: int = 3) -> list[Path]:
    """As llama-gguf-split writes them: the metadata in the first."""
    split = [entry("split.count", UINT32, struct.pack("<I", count))]
    tensors = list(block_tensors(blocks=2).items())
    found = []
    for index in range(count):
        entries = [number(RMS, 1e-6), *split] if index == 0 else split
        name = f"net-{index + 1:05}-of-{count:05}.gguf"
        found.append(written(folder, gguf(entries, dict(tensors[index::count])), name))
    return found


def test_the_parts_of_a_model_are_one(tmp_path: Path) -> None:
    first, second, third = parts(tmp_path)
    for path in (first, second):
        report = normdiag.inspect(path)
        assert {each.layer.kind for each in report.layers} == {"rms_norm"} and len(report.layers) == 7
        assert "read from 3 parts" in report.model.notes
        assert report.model.size_bytes == sum(each.stat().st_size for each in (first, second, third))
    assert find_models([tmp_path]).files == (str(first),)
    alone = written(tmp_path, second.read_bytes(), "alone.gguf")
    assert any(note.startswith("one of 3 parts") for note in normdiag.inspect(alone).model.notes)
    third.unlink()
    with pytest.raises(InputError, match=r"1 of the model's 3 parts are missing: net-00003-of-00003\.gguf"):
        normdiag.inspect(first)
    written(tmp_path, first.read_bytes(), third.name)
    with pytest.raises(InputError, match="which another part holds, too"):
        normdiag.inspect(first)


def test_options_that_it_has_no_use_for(tmp_path: Path) -> None:
    path = written(tmp_path, llama())
    for options in (LoadOptions(trust=True), LoadOptions(key="model"), LoadOptions(arch="net.py:Net")):
        with pytest.raises(UsageError, match=r"is for PyTorch files; x\.gguf is a GGUF file"):
            normdiag.inspect(path, load_options=options)


def test_types_that_are_not_known(tmp_path: Path) -> None:
    tensors = {**block_tensors(), "blk.0.ffn_up.weight": (99, (64, 64), bytes(100))}
    report = normdiag.inspect(written(tmp_path, gguf([number(RMS, 1e-6)], tensors)))
    assert len(report.layers) == 4 and report.model.parameters == 2 * 64 * 64 + 3 * 64 + 16
    assert "left out 1 tensors of ggml types that are not known here (99)" in report.model.notes


NORM = {"output_norm.weight": plain(np.ones(8, np.float32))}
SPARE = bytes(4096)
HEAD = b"GGUF" + struct.pack("<I", 3)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"GGUF", "truncated"),
        (gguf([], NORM)[:60], "truncated: it ends within its header"),
        (gguf([], NORM)[:-4], "4 bytes of weights are missing"),
        (gguf([], NORM, version=1), "of version 1: convert"),
        (gguf([], NORM, version=9), "of version 9"),
        (HEAD + struct.pack("<QQ", 2**63, 0) + SPARE, "claims"),
        (HEAD + struct.pack("<QQ", 0, 2**40) + SPARE, "claims"),
        (HEAD + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 2**62) + SPARE, "a name in its header has"),
        (HEAD + struct.pack("<QQ", 0, 1) + text(b"\xff") + SPARE, "not UTF-8"),
        (gguf([entry("a", STRING, struct.pack("<Q", 2**62))], NORM), "truncated"),
        (gguf([entry("a", ARRAY, struct.pack("<IQ", UINT64, 2**62))], NORM), "truncated"),
        (gguf([entry("a", ARRAY, struct.pack("<IQ", STRING, 2**62))], NORM), "truncated"),
        (gguf([entry("a", ARRAY, struct.pack("<IQ", ARRAY, 1) * 5000)], NORM), "array of type 9"),
        (gguf([entry("a", 77, b"")], NORM), "unknown type 77"),
        (gguf([number("a", 1), number("a", 2)], NORM), "is there twice"),
        (gguf([entry("general.alignment", UINT32, struct.pack("<I", 0))], NORM), "no power of two"),
        (gguf([], {"a": (F32, (1, 1, 1, 1, 1), SPARE)}), "has 5 dimensions"),
        (gguf([], {"a": (F32, (2**62, 2**62), SPARE)}), "larger than a file of this size can hold"),
        (gguf([], {"a": (F32, (0, 2**62), SPARE)}), "larger than a file of this size can hold"),
        (gguf([], {"a": (99, (2**62, 2), SPARE)}), "larger than a file of this size can hold"),
        (gguf([], {"a": (Q8_0, (31,), SPARE)}), "no whole number of blocks"),
        (gguf([], {"a": (BF16, (64,), b""), "b": plain(np.ones(64, np.float32))}), "overlaps"),
        (gguf([], {}), "holds no tensors"),
    ],
)
def test_damaged_and_hostile_files(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        normdiag.inspect(written(tmp_path, content))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_strings_without_end_cost_little(tmp_path: Path) -> None:
    """40 MB of empty strings: five million steps would be taken."""
    count = 5_000_000
    content = gguf([entry("a", ARRAY, struct.pack("<IQ", STRING, count) + bytes(8 * count))], NORM)
    with pytest.raises(InputError, match="more than 4194304 strings"):
        read_gguf(written(tmp_path, content))


def test_names_that_cannot_be_printed(tmp_path: Path) -> None:
    content = gguf([tokens(1)], {"\x1b[31mnorm.weight": plain(np.ones(8, np.float32))})
    (found,) = normdiag.inspect(written(tmp_path, content)).layers
    assert found.layer.name.isprintable()
