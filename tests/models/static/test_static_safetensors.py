"""safetensors read by hand: as the library reads them, and errors for every header that lies."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from normdiag.errors import InputError
from tests.models.static.zoo import read


def pack(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_the_same_as_the_library(real):
    path = real("burn/mnist.safetensors")
    ours, theirs = read(path).tensors, load_file(path)
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours[name], tensor.numpy())


def test_metadata_empty_tensors_and_scalars(tmp_path):
    path = tmp_path / "file.safetensors"
    save_file({"a": torch.ones(0, 3), "b": torch.tensor(2.0), "c": torch.ones(1)}, path, {"format": "pt"})
    found = read(path).tensors
    assert {name: array.shape for name, array in found.items()} == {"a": (0, 3), "b": (), "c": (1,)}


def test_four_bit_floats_are_left_out(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes(pack({"q": entry("F4", (4,), (0, 2)), "x": entry(offsets=(2, 10))}, bytes(10)))
    assert list(read(path).tensors) == ["x"]


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        ({"x": entry()}, bytes(7), "truncated: 1 bytes"),
        ({"x": entry()}, bytes(9), "1 bytes follow"),
        ({"x": entry(offsets=(1, 9))}, bytes(9), "gaps"),
        ({"x": entry(), "y": entry(offsets=(4, 12))}, bytes(12), "overlap"),
        ({"x": entry(shape=(3,))}, bytes(8), "bytes that its shape needs"),
        ({"x": entry(shape=(2**61, 2**61), offsets=(0, 8))}, bytes(8), "bytes that its shape needs"),
        ({"x": entry(shape=(-2,))}, bytes(8), "no proper"),
        ({"x": entry(offsets=(8, 0))}, bytes(8), "bytes that its shape needs"),
        ({"x": entry(offsets=(0,))}, bytes(8), "no proper"),
        ({"x": entry(dtype="Q7")}, bytes(8), "unknown dtype Q7"),
        ({"x": 3}, bytes(8), "no proper"),
        ({"x": {**entry(), "shape": [2.0]}}, bytes(8), "no proper"),
        (b'{"x":1,"x":2}', b"", "not proper JSON"),
        (b'{"x":' + b"[" * 100_000, b"", "not proper JSON"),
        (b'{"x":' + b"9" * 10_000 + b"}", b"", "JSON"),
        (b'{"\xff":1}', b"", "not proper JSON"),
        ({}, b"", "no dict of tensors"),
        ({"__metadata__": {"a": "b"}}, b"", "no dict of tensors"),
    ],
)
def test_headers_that_lie_are_errors(tmp_path, header, data, words):
    path = tmp_path / "file.safetensors"
    path.write_bytes(pack(header, data))
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_header_longer_than_the_file_is_a_truncated_file(tmp_path):
    path = tmp_path / "file.safetensors"
    path.write_bytes((1000).to_bytes(8, "little") + b'{"x":')
    with pytest.raises(InputError, match="truncated"):
        read(path)
