"""Files made to lie, crash, hang, fill the memory or run code: each is an InputError of one line, and fast."""

import io
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from normdiag.errors import InputError
from normdiag.models.sniff import sniff
from normdiag.models.static import norm_layers, read_static
from tests.models.static.zoo import read, rezip

SECONDS = 30  # for what takes milliseconds to a few seconds: a busy machine, perhaps under coverage


def save_all(folder):
    """One small file of each format, by name."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LayerNorm(4)).eval()
    state = net.state_dict()
    torch.save({"epoch": 1, "state_dict": state, "best": np.float64(3)}, folder / "zip")
    torch.save(state, folder / "legacy", _use_new_zipfile_serialization=False)
    torch.save(net, folder / "module")
    (folder / "numpy").write_bytes(pickle.dumps({name: array.numpy() for name, array in state.items()}, 4))
    (folder / "pickle").write_bytes(pickle.dumps(state, 2))
    save_file(state, folder / "safetensors")
    torch.jit.trace(net, torch.randn(2, 3)).save(str(folder / "torchscript"))
    torch.export.save(torch.export.export(net, (torch.randn(2, 3),)), folder / "export.pt2")
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    return save_all(tmp_path_factory.mktemp("valid"))


FORMATS = ["zip", "legacy", "module", "numpy", "pickle", "safetensors", "torchscript", "export.pt2"]


def survive(path):
    """Read the file whatever is in it: a result whose layers can be listed, or one line."""
    started = time.process_time()
    try:
        static = read_static(path, sniff(path))
        for layer in norm_layers(static):
            assert layer.gamma is None or layer.gamma.astype(np.float64).size < 2**27
    except InputError as error:
        assert "\n" not in str(error)
    assert time.process_time() - started < SECONDS


def refused(path, content, words):
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(InputError, match=words) as caught:
        read_static(path, sniff(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert time.process_time() - started < SECONDS


@pytest.mark.exports
@pytest.mark.parametrize("name", FORMATS)
def test_truncated_at_every_twentieth(valid, tmp_path, name):
    content = valid[name].read_bytes()
    for percent in range(0, 100, 5):
        words = "empty" if percent == 0 else "truncated|not a model"
        refused(tmp_path / "cut", content[: len(content) * percent // 100], words)
    refused(tmp_path / "cut", content[:-1], "truncated")


@pytest.mark.parametrize("name", ["akamaster/resnet20-12fca82f.th", "burn/mnist.pt", "burn/mnist.safetensors"])
def test_real_files_truncated_at_every_twentieth(real, tmp_path, name):
    content = real(name).read_bytes()
    for percent in range(5, 100, 5):
        refused(tmp_path / "cut", content[: len(content) * percent // 100], "truncated")


@settings(max_examples=150)
@given(data=st.data(), name=st.sampled_from(FORMATS))
def test_any_few_bytes_may_be_wrong(valid, tmp_path_factory, data, name):
    content = bytearray(valid[name].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(content)
    survive(path)


@settings(max_examples=150)
@given(data=st.data(), name=st.sampled_from(["zip", "module", "torchscript", "export.pt2"]))
def test_members_may_be_wrong_though_their_checksums_are_right(valid, tmp_path_factory, data, name):
    with zipfile.ZipFile(valid[name]) as archive:
        members = [each for each in archive.namelist() if each.endswith((".pkl", ".json", ".py", "byteorder"))]
        member = data.draw(st.sampled_from(members))
        content = bytearray(archive.read(member))
    at = data.draw(st.integers(0, len(content)))
    content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "rezipped"
    path.write_bytes(rezip(valid[name], **{member.rpartition("/")[2].replace(".", "_"): bytes(content)}))
    survive(path)


@settings(max_examples=300)
@given(st.lists(st.sampled_from([bytes([code]) for code in range(256)]), max_size=60))
def test_any_opcodes(tmp_path_factory, opcodes):
    path = tmp_path_factory.getbasetemp() / "opcodes"
    path.write_bytes(b"\x80\x02" + b"".join(opcodes) + b".")
    survive(path)


def test_nothing_that_a_pickle_names_is_run(tmp_path):
    target = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(target)!r}, 'w').close()",))

    for number, value in enumerate([Evil(), {"state_dict": {"a": torch.ones(2), "b": torch.ones(2), "c": Evil()}}]):
        path = tmp_path / f"file{number}"
        torch.save(value, path)
        survive(path)
        path.write_bytes(pickle.dumps({"state_dict": Evil()}))
        survive(path)
    path.write_bytes(b"\x80\x02cposix\nsystem\nX\x09\x00\x00\x00touch ran\x85R.")
    survive(path)
    assert not target.exists()


# A megabyte of nesting is enough to crash what recurses; the rest needs less.
N = 1_000_000
M = 50_000
P = 2**61 - 1  # hash(k * P) is 0
LONG = b"\x8a\x0b"
BOMBS = {
    "nested tuples": b")" + b"\x85" * N,
    "nested lists": b"]" * M + b"a" * (M - 1),
    "nested dicts": b"}" + b"X\x01\0\0\0a}" * M + b"s" * M,
    "marks": b"(" * M + b"t" * (M - 1),
    "calls of calls": b"cos\nsystem\n" + b")R" * M,
    "objects in the state of objects": b"ca\nb\n)\x81" * M + b"b" * (M - 1),
    "a huge long": b"\x8b" + N.to_bytes(4, "little") + b"\x7f" * N,
    "lists doubled by memo": b"]q\0" + b"h\0h\0\x86q\0" * M,
    "dicts doubled by memo": b"}q\0" + b"}(X\x01\0\0\0ah\0X\x01\0\0\0bh\0uq\0" * (M // 5),
    "a list in itself": b"]q\0h\0a",
    "a dict in itself": b"}q\0X\x01\0\0\0ah\0s",
    "keys of equal hash": b"}(" + b"".join(LONG + (k * P).to_bytes(11, "little") + b"N" for k in range(M)) + b"u",
    "tuples as keys": b"})" + b"\x85" * M + b"Ns",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_megabyte_of_nesting_is_no_crash(tmp_path, name):
    refused(tmp_path / "bomb", b"\x80\x02" + BOMBS[name] + b".", "holds no dict of tensors|damaged pickle")


MODULE = b"ca\nb\n)\x81}(X\x0b\0\0\0_parametersh\x00X\x08\0\0\0_modules%bub"


def test_modules_doubled_by_memo_are_refused(tmp_path):
    """Forty modules, each holding the one before twice: 2^40 paths."""
    level = MODULE % b"}(X\x01\0\0\0ah\x01X\x01\0\0\0bh\x01u" + b"q\x01"
    content = b"\x80\x02}q\x00" + MODULE % b"}" + b"q\x01" + level * 40 + b"."
    refused(tmp_path / "bomb", content, "too many submodules")
    deep = MODULE % b"}X\x01\0\0\0ah\x01s" + b"q\x01"
    refused(tmp_path / "bomb", b"\x80\x02}q\x00" + MODULE % b"}" + b"q\x01" + deep * 5000 + b".", "too many submodules")
    own = b"\x80\x02}q\x00ca\nb\n)\x81q\x01}(X\x0b\0\0\0_parametersh\x00X\x08\0\0\0_modules}X\x01\0\0\0ah\x01sub."
    refused(tmp_path / "bomb", own, "contains itself")


@pytest.mark.parametrize(
    ("opcodes", "words"),
    [
        (b".", "damaged"),
        (b"R.", "damaged"),
        (b"N\x86.", "damaged"),
        (b"t.", "damaged"),
        (b"Nu.", "damaged"),
        (b"}(Nu.", "damaged"),
        (b"NNa.", "damaged"),
        (b"NN\x81.", "damaged"),
        (b"h\x09.", "damaged"),
        (b"q\x09.", "damaged"),
        (b"NN\x93.", "damaged"),
        (b"\x97.", "not supported"),
        (b"I9x\n.", "damaged"),
        (b"I" + b"9" * 5000 + b"\n.", "damaged|no dict"),
        (b"X\xff\xff\xff\xff.", "truncated"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa.", "damaged|truncated"),
        (b"\x8e\x00\x00\x00\x00\x00\x00\x00\x40.", "truncated"),
        (b"\x8b\xff\xff\xff\x7f.", "damaged|truncated"),
        (b"\x8b\xff\xff\xff\xff.", "damaged"),
        (b"\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "only NoneType"),
        (b"X\x01\x00\x00\x00\xff.", "damaged"),
        (b"N", "truncated|damaged"),
        (b"NQ.", "persistent id"),
        (b"Px\n.", "persistent id"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(t R(K\x01K\x02K\x03tb.", "damaged"),
    ],
)
def test_broken_opcodes(tmp_path, opcodes, words):
    refused(tmp_path / "broken", b"\x80\x02" + opcodes, words)


def view(storage_size=4, offset=0, size=(4,), stride=(1,), numel=None):
    """A torch.save zip whose only tensor is described as asked, over a float storage of `storage_size` elements."""
    out = io.BytesIO()

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            floats = torch.FloatStorage
            return (
                ("storage", floats, "0", "cpu", storage_size if numel is None else numel) if value is Storage else None
            )

        def reducer_override(self, value):
            if isinstance(value, Tensor):
                return torch._utils._rebuild_tensor_v2, (Storage, offset, size, stride, False, {})
            return NotImplemented

    class Tensor:
        pass

    Pickler(out, 2).dump({"w": Tensor()})
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a/data.pkl", out.getvalue())
        archive.writestr("a/data/0", struct.pack(f"<{storage_size}f", *range(storage_size)))
    return target.getvalue()


def test_the_handmade_view_is_valid_where_it_should_be(tmp_path):
    (tmp_path / "file").write_bytes(view(size=(2, 2), stride=(1, 2)))
    np.testing.assert_array_equal(read(tmp_path / "file").tensors["w"], [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (5,)}, "beyond its storage"),
        ({"offset": 1}, "beyond its storage"),
        ({"offset": 2**61}, "beyond its storage"),
        ({"stride": (2,)}, "beyond its storage"),
        ({"stride": (2**61,)}, "beyond its storage"),
        ({"offset": -1}, "impossible"),
        ({"size": (-4,)}, "impossible"),
        ({"stride": (-1,)}, "impossible"),
        ({"size": (2**70,)}, "impossible"),
        ({"size": (4.0,)}, "impossible"),
        ({"size": (True,)}, "impossible"),
        ({"size": (4, 1)}, "do not match"),
        ({"size": 4}, "do not match"),
        ({"size": (1,) * 65, "stride": (1,) * 65}, "65 dimensions"),
        ({"size": (1,) * 40, "stride": (1,) * 40}, "40 dimensions"),
        ({"size": (10**12,), "stride": (0,)}, "more elements"),
        ({"size": (10**6, 10**6), "stride": (0, 0)}, "more elements"),
        ({"size": (0, 2**60, 2**60), "stride": (1, 1, 1)}, "impossible size"),
        ({"numel": 5}, "storage of 16 bytes that should have 20"),
        ({"numel": 2**62}, "impossible"),
        ({"numel": -1}, "impossible"),
        ({"numel": "4"}, "impossible"),
    ],
)
def test_tensors_that_reach_beyond_their_storage(tmp_path, options, words):
    refused(tmp_path / "file", view(**options), words)


def test_many_views_of_one_storage_cannot_add_up_to_a_memory_bomb(tmp_path):
    base = torch.ones(1).expand(2**26)
    torch.save({f"norm{i}.weight": base for i in range(100)}, tmp_path / "file")
    with pytest.raises(InputError, match="more elements"):
        read(tmp_path / "file")


def state_zip(tmp_path):
    torch.save({"x": torch.arange(1000.0)}, tmp_path / "good")
    return tmp_path / "good"


def test_a_wrong_checksum_is_found_in_weights_and_in_the_pickle(tmp_path):
    content = bytearray(state_zip(tmp_path).read_bytes())
    at = content.index(struct.pack("<3f", 500, 501, 502))
    content[at] ^= 1
    refused(tmp_path / "bad", content, "checksum")


def test_zip_members_that_lie(tmp_path):
    good = state_zip(tmp_path)
    refused(tmp_path / "bad", rezip(good, **{"0": None}), "'data/0' is missing")
    refused(tmp_path / "bad", rezip(good, **{"0": b"short"}), "storage of 5 bytes")
    refused(tmp_path / "bad", rezip(good, byteorder=b"middle"), "byteorder")
    content = bytearray(rezip(good))
    directory = content.index(b"PK\x01\x02")
    encrypted = content.copy()
    encrypted[directory + 8] |= 1
    refused(tmp_path / "bad", encrypted, "encrypted")
    method = content.copy()
    method[directory + 10] = 14
    refused(tmp_path / "bad", method, "method 14")
    sizes = content.copy()
    sizes[directory + 24 : directory + 28] = b"\xf0\xff\xff\xff"
    refused(tmp_path / "bad", sizes, "two sizes differ")
    outside = content.copy()
    outside[directory + 42 : directory + 46] = b"\xf0\xff\xff\x00"
    refused(tmp_path / "bad", outside, "outside of the file|overlap")


def test_two_members_of_one_name_and_overlapping_members(tmp_path):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/data.pkl", b"\x80\x02}.")
    refused(tmp_path / "bad", target.getvalue(), "several members of one name")
    content = bytearray(rezip(state_zip(tmp_path)))
    first = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", first + 4)
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    refused(tmp_path / "bad", content, "overlap")


def test_deflated_bombs_are_refused_before_they_unpack(tmp_path):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02N.")
        archive.writestr("a/data/0", bytes(400 << 20))
    refused(tmp_path / "bad", target.getvalue(), "zip bomb")
    content = bytearray(rezip(state_zip(tmp_path), zipfile.ZIP_DEFLATED))
    directory = content.index(b"PK\x01\x02")
    for size in (1, 100_000):
        lying = content.copy()
        lying[directory + 24 : directory + 28] = size.to_bytes(4, "little")
        refused(tmp_path / "bad", lying, "size that it declares")
    garbled = content.copy()
    start = content.index(b"data.pkl") + len("data.pkl")
    garbled[start : start + 20] = b"\xff" * 20
    refused(tmp_path / "bad", garbled, "decompressed")


def test_legacy_storages_that_lie(tmp_path):
    torch.save({"x": torch.arange(3.0)}, tmp_path / "good", _use_new_zipfile_serialization=False)
    content = (tmp_path / "good").read_bytes()
    count = (3).to_bytes(8, "little")
    pickles, weights = content[: content.rindex(count)], struct.pack("<3f", 0, 1, 2)
    assert content == pickles + count + weights
    refused(tmp_path / "bad", pickles + (2**62).to_bytes(8, "little") + weights, "not the declared one")
    refused(tmp_path / "bad", pickles + (2).to_bytes(8, "little") + weights, "not the declared one")
    refused(tmp_path / "bad", pickles + count + weights[:-1], "truncated: at least 1 bytes")
    keys = pickles.rindex(b"\x80\x02]")
    refused(tmp_path / "bad", pickles[:keys] + b"\x80\x02]." + count + weights, "does not hold")
    refused(tmp_path / "bad", pickles[:keys] + b"\x80\x02N." + count + weights, "no list of storage keys")
    refused(tmp_path / "bad", pickles[:keys] + b"\x80\x02]Na." + count + weights, "no tensor uses")


@pytest.mark.parametrize("member", ["model.json", "model_weights_config.json"])
@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"config": {"a": 3}}', b"[" * 200_000, b'{"a":' + b"9" * 9999 + b"}"]
)
def test_export_archives_with_other_json(valid, tmp_path, member, content):
    (tmp_path / "bad").write_bytes(rezip(valid["export.pt2"], **{member.replace(".", "_"): content}))
    survive(tmp_path / "bad")


@pytest.mark.exports
def test_a_program_that_contradicts_itself_is_an_error(valid, tmp_path):
    export, script = valid["export.pt2"], valid["torchscript"]
    config = b'{"config": {"a": {"path_name": "weight_0", "tensor_meta": {"dtype": 99}}}}'
    refused(tmp_path / "bad", rezip(export, model_weights_config_json=config), "'a' has no dtype")
    refused(tmp_path / "bad", rezip(export, model_weights_config_json=b'{"config": {"a": {}}}'), "'a' names no file")
    refused(tmp_path / "bad", rezip(export, model_weights_config_json=b'{"config": 3}'), "list of weights")
    refused(tmp_path / "bad", rezip(export, model_weights_config_json=None), "missing")
    refused(tmp_path / "bad", rezip(export, weight_0=b"x"), "beyond its storage")
    refused(tmp_path / "bad", rezip(script, data_pkl=None), "without data.pkl")
    refused(tmp_path / "bad", rezip(script, data_pkl=b"\x80\x02}."), "holds no module")
    target = io.BytesIO(rezip(export))
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(archive.namelist()[0].partition("/")[0] + "/models/second.json", b"{}")
    refused(tmp_path / "bad", target.getvalue(), "2 exported programs")


@pytest.mark.parametrize(
    "code",
    [
        b"class X(Module):\n" + b"    y = torch.batch_norm(" * 40_000,
        b"class X(Module):\n    y = " + b"torch.layer_norm(" * 5_000,
        b"class X(Module):\n" + b"    y = torch.layer_norm(x, [8], w, b, 1)\n" * 3_000,
        b"class X(Module):\n    y = torch.layer_norm(x" + b", (" * 20_000,
        b"  eps : Final[" + b"[" * 100_000,
        b"\xff\xfe" * 1000,
    ],
)
def test_torchscript_with_other_code(valid, tmp_path, code):
    with zipfile.ZipFile(valid["torchscript"]) as archive:
        members = [name for name in archive.namelist() if name.endswith(".py")]
    changes = {member.rpartition("/")[2].replace(".", "_"): code for member in members}
    (tmp_path / "bad").write_bytes(rezip(valid["torchscript"], **changes))
    survive(tmp_path / "bad")
