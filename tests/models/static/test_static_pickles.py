"""The pickle machine against pickle itself, and what it makes of everything that it does not build."""

import collections
import io
import pickle
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from normdiag.models.static.inert import Global, MalformedError, OpaqueKey, Record, TensorRef, shown
from normdiag.models.static.opcodes import run
from normdiag.models.static.pickled_numpy import scalar_of, tensor_of
from normdiag.models.static.rebuild import construct
from tests.models.static.zoo import read


def load(data):
    return run(io.BytesIO(data), lambda identity: ("persistent", identity))


keys = st.one_of(st.text(max_size=5), st.integers(-(2**40), 2**40), st.booleans(), st.none())
leaves = st.one_of(keys, st.floats(), st.binary(max_size=20), st.integers(), st.text())
plain = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(collections.OrderedDict),
    ),
    max_leaves=20,
)


def same(a, b):
    """Equality with NaN equal to itself."""
    return pickle.dumps(normal(a), 2) == pickle.dumps(normal(b), 2)


def normal(value):
    if isinstance(value, dict):
        return [(normal(key), normal(each)) for key, each in value.items()]
    if isinstance(value, list):
        return [normal(each) for each in value]
    if isinstance(value, tuple):
        return ("tuple", *(normal(each) for each in value))
    return repr(value)


@given(plain, st.integers(0, 5))
def test_plain_data_comes_out_as_it_went_in(value, protocol):
    assert same(load(pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", range(6))
def test_cycles_sets_and_shared_parts(protocol):
    shared = [1]
    value = [shared, shared, {1, 2}, frozenset([3]), bytearray(b"ab"), collections.deque([1, 2], 5)]
    value.append(value)
    found = load(pickle.dumps(value, protocol))
    assert found[0] is found[1]
    assert found[6] is found
    assert (sorted(found[2]), found[3], bytes(found[4]), found[5]) == ([1, 2], [3], b"ab", [1, 2])


class Thing:
    """An object of which the machine knows nothing."""

    def __init__(self):
        self.x = 1


class Slotted:
    __slots__ = ("y",)


class Named(dict):
    pass


class Listed(list):
    pass


@pytest.mark.parametrize("protocol", range(6))
def test_unknown_objects_stay_records_with_all_that_they_were_given(protocol):
    named = Named(a=1)
    named.extra = 2
    found, second, third = load(pickle.dumps([Thing(), named, Listed([5])], protocol))
    assert isinstance(found, Record)
    assert found.cls.name == "Thing"
    assert found.state == {"x": 1}
    assert (second.items or second.args[-1], second.state) == ({"a": 1}, {"extra": 2})
    assert third.values == [5] or third.args[-1] == [5]


def test_opcodes_that_no_pickler_writes_any_more():
    assert load(b"(I1\nI01\nl.") == [1, True]
    assert load(b"(S'k'\nI2\nd.") == {"k": 2}
    assert load(b"\x80\x02N0K\x05.") == 5
    assert load(b"\x80\x02K\x01(K\x02K\x031.") == 1
    assert load(b"\x80\x02K\x0120\x85.") == (1,)
    assert load(b"\x80\x02K\x01(0.") == 1
    old = load(b"(ios\nsystem\n.")
    assert (old.cls, old.args) == (Global("os", "system"), ())
    made = load(b"\x80\x02(cos\nsystem\nK\x07o.")
    assert (made.cls, made.args) == (Global("os", "system"), (7,))
    assert load(b"\x80\x02\x82\x05.") == Global("copyreg", "extension_5")
    keyword = load(b"\x80\x04ca\nb\n)}\x8c\x01kK\x01s\x92.")
    assert keyword.state == {"k": 1}
    assert load(b"Pabc\n.") == ("persistent", "abc")
    assert load(b"\x80\x02NQ.") == ("persistent", None)
    assert isinstance(load(b"\x80\x02N)R."), Record)


def test_keys_that_could_be_slow_are_opaque():
    (key,) = load(pickle.dumps({(1, 2): 3}))
    assert isinstance(key, OpaqueKey)
    assert key.value == (1, 2)
    (key,) = load(pickle.dumps({2**61 - 1: 3}))
    assert isinstance(key, OpaqueKey)


def test_an_endless_pickle_is_cut_off(monkeypatch):
    monkeypatch.setattr("normdiag.models.static.opcodes.MAX_OPCODES", 1000)
    with pytest.raises(MalformedError, match="more than 1000 opcodes"):
        load(b"\x80\x02" + b"N0" * 1000 + b"N.")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "number", [np.float64(1.5), np.float32(0.25), np.int64(-3), np.bool_(True), np.array(2.0, ">f8")[()], 7, 1.5, True]
)
def test_numbers_of_python_and_numpy(number, protocol):
    found = scalar_of(load(pickle.dumps(number, protocol)))
    assert found == number
    assert type(found) in (bool, int, float)


@pytest.mark.parametrize(
    "value", ["1.5", None, np.complex64(1j), np.datetime64("2026-01-01"), np.array(["a"]), Thing()]
)
def test_what_is_no_number_is_none(value):
    assert scalar_of(load(pickle.dumps(value))) is None


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize(
    "array", [np.array(["a", "bc"]), np.array([Thing], object), np.zeros(2, "f4,i4"), np.zeros(2, "M8[s]")]
)
def test_arrays_of_anything_but_numbers_are_no_tensors(array, protocol):
    assert tensor_of(load(pickle.dumps(array, protocol))) is None


def test_arrays_that_lie_about_their_shape():
    record = load(pickle.dumps(np.arange(4.0), 2))
    version, _, dtype, order, data = record.state
    for shape in ((5,), (2, 3), (2**40, 2**40)):
        record.state = (version, shape, dtype, order, data)
        with pytest.raises(MalformedError, match="does not fit"):
            tensor_of(record)
    for state in (None, (1,), (version, (-1,), dtype, order, data), (version, (4,), "f8", order, data)):
        record.state = state
        assert tensor_of(record) is None
    record.state = (version, (4,), dtype, order, data.decode("latin-1"))  # written by Python 2
    assert isinstance(tensor_of(record), TensorRef)


def test_calls_of_what_is_whitelisted_with_the_wrong_arguments_stay_records():
    for path in (
        "collections.OrderedDict",
        "builtins.set",
        "torch.Size",
        "_codecs.encode",
        "torch._utils._rebuild_tensor_v2",
    ):
        module, _, name = path.rpartition(".")
        for args in ((), (3,), (None, None), ([1], 2, 3, 4)):
            construct(Global(module, name), args)
    assert construct(Global("collections", "OrderedDict"), ([["a", 1]],)) == {"a": 1}
    assert construct(Global("collections", "Counter"), ({"a": 1},)) == {"a": 1}
    assert isinstance(construct(Global("collections", "OrderedDict"), ([[[], 1]],)), Record)
    assert isinstance(construct(Global("torch._utils", "_rebuild_parameter"), ()), Record)
    rebuild = Global("torch._tensor", "_rebuild_from_type_v2")
    assert isinstance(construct(rebuild, (rebuild, None, (rebuild, None, ()))), Record)
    assert construct(rebuild, (Global("torch", "Size"), None, ((1, 2),))) == (1, 2)


def test_a_view_of_a_legacy_storage(tmp_path):
    """Files of torch 0.3 and 0.4 name a part of a storage as (key, offset, size) in the persistent id."""

    class Part:
        start, count = 2, 3

    class Tensor:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            part = ("p", Part.start, Part.count)
            return ("storage", torch.FloatStorage, "k", "cpu", 6, part) if value is Part else None

        def reducer_override(self, value):
            return (
                (torch._utils._rebuild_tensor, (Part, 0, (3,), (1,))) if isinstance(value, Tensor) else NotImplemented
            )

    out = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, out, 2)
    Pickler(out, 2).dump({"x": Tensor()})
    pickle.dump(["k"], out, 2)
    out.write((6).to_bytes(8, "little") + struct.pack("<6f", *range(6)))
    path = tmp_path / "file.pt"
    path.write_bytes(out.getvalue())
    np.testing.assert_array_equal(read(path).tensors["x"], [2, 3, 4])
    swapped = out.getvalue().replace(struct.pack("<6f", *range(6)), struct.pack(">6f", *range(6)))
    swapped = swapped.replace((6).to_bytes(8, "little"), (6).to_bytes(8, "big")).replace(
        b"little_endianq\x01\x88", b"little_endianq\x01\x89"
    )
    path.write_bytes(swapped)
    np.testing.assert_array_equal(read(path).tensors["x"], [2, 3, 4])


@given(st.text())
def test_what_is_shown_of_a_name_is_one_short_printable_line(name):
    assert shown(name).isprintable()
    assert len(shown(name)) <= 80
