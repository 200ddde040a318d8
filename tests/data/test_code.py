"""Data from users' code, on the command line and through the Python API."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.data import DataOptions
from normdiag.data.items import as_batches
from normdiag.data.source import open_data
from normdiag.errors import InputError
from normdiag.records import InputSpec
from tests.data.helpers import floats, read, whole

LOADERS = """
import numpy as np

X = np.arange(20, dtype=np.float32).reshape(10, 2)
pairs = [(X[:4], "labels"), (X[4:], None)]
once = iter(pairs)
calls = []

def generator():
    calls.append(1)
    yield X[:3], 1
    yield X[3:], 2

def returns_list():
    return pairs

def returns_array():
    return X

def returns_dict():
    return {"x": X, "labels": X[:, 0]}

def by_name():
    yield {"b": X + 1, "a": X, "labels": np.zeros(10)}

class Loader:
    def __iter__(self):
        return iter(pairs)

class Samples:
    def __len__(self): return 10
    def __getitem__(self, index): return X[index]

loader, samples, number = Loader(), Samples(), 3

def fails():
    yield X
    raise KeyError("no such\\nfile")

def exits():
    raise SystemExit(3)

def empty():
    return []

def integers():
    yield (X * 2).astype(np.uint8)
"""
X = np.arange(20, dtype=np.float32).reshape(10, 2)


@pytest.fixture
def loaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "loaders.py"
    path.write_text(LOADERS)
    return path


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("generator", [3, 7]), ("returns_list", [4, 6]), ("pairs", [4, 6]), ("loader", [4, 6]), ("Loader", [4, 6]),
     ("X", [8, 2]), ("returns_array", [8, 2]), ("returns_dict", [8, 2])],
)  # fmt: skip
def test_whatever_gives_batches_is_read_again_and_again(loaders: Path, name: str, sizes: list[int]) -> None:
    source = open_data([f"{loaders}:{name}"], DataOptions(batch_size=8))
    for _ in range(2):
        batches = list(source)
        assert [batch.size for batch in batches] == sizes
        assert np.array_equal(whole(batches), X)
    assert (source.info.total, source.info.preprocess) == (None, "raw (as stored)")


def test_max_samples_cuts_and_stops_reading(loaders: Path) -> None:
    assert np.array_equal(read(f"{loaders}:pairs", max_samples=5), X[:5])
    assert len(read(f"{loaders}:fails", max_samples=10)) == 10


def test_modules_are_found_in_the_current_folder(loaders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (loaders.parent / "pkg_of_data").mkdir()
    (loaders.parent / "pkg_of_data" / "inner.py").write_text(LOADERS)
    monkeypatch.chdir(loaders.parent)
    assert np.array_equal(read("pkg_of_data.inner:generator"), X)
    assert np.array_equal(read("pkg_of_data.inner:loader.__iter__"), X)


def test_inputs_are_taken_by_name_and_labels_left(loaders: Path) -> None:
    batch = next(iter(open_data([f"{loaders}:by_name"])))
    assert batch.names == ("b", "a")
    inputs = [InputSpec("a", "float32", (None, 2)), InputSpec("b", "float64", None)]
    batch = next(iter(open_data([f"{loaders}:by_name"], None, inputs)))
    assert batch.names == ("a", "b")
    assert np.array_equal(batch.arrays[0], X)
    assert np.array_equal(batch.arrays[1], X + 1)
    assert batch.arrays[1].dtype == np.float64
    with pytest.raises(InputError, match=r"b \(10, 2\) float32, a .*wanted: a, c"):
        list(open_data([f"{loaders}:by_name"], None, [InputSpec(n, "float32", None) for n in "ac"]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", r"loaders.py:fails failed: KeyError: 'no such\\nfile' \(loaders.py, line \d+\)"),
        ("exits", "SystemExit: 3"),
        ("empty", "gave no batches"),
        ("missing", "has no 'missing'"),
        ("number", "neither a function nor an iterable"),
        ("once", "can be read once only"),
    ],
)
def test_code_that_gives_no_data_is_refused_in_a_line(loaders: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(open_data([f"{loaders}:{name}"]))
    assert "\n" not in str(caught.value)


def test_code_that_cannot_be_imported_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(InputError, match=r"broken\.py cannot be imported: ModuleNotFoundError.*line 1"):
        open_data([f"{tmp_path}/broken.py:x"])
    (tmp_path / "syntax.py").write_text("def (:\n")
    with pytest.raises(InputError, match=r"syntax\.py cannot be imported: SyntaxError"):
        open_data([f"{tmp_path}/syntax.py:x"])
    with pytest.raises(InputError, match=r"no file .*absent\.py"):
        open_data([f"{tmp_path}/absent.py:x"])
    with pytest.raises(InputError, match="nowhere cannot be imported"):
        open_data(["nowhere:x"])
    with pytest.raises(InputError, match=r"is code: say which callable .*broken\.py:name"):
        open_data([f"{tmp_path}/broken.py"])


def test_integers_for_a_float_input_are_not_scaled_silently(loaders: Path) -> None:
    inputs = (InputSpec("x", "float32", (None, 2)),)
    with pytest.raises(InputError, match=r"takes float32, the batches are uint8: .*--preprocess"):
        read(f"{loaders}:integers", inputs)
    assert np.array_equal(read(f"{loaders}:integers", inputs, preprocess="raw"), X * 2)
    assert read(f"{loaders}:integers").dtype == np.uint8


def test_batches_that_do_not_fit_are_refused() -> None:
    for batches, message in (
        ([floats(2, 3), np.zeros((0, 3))], "empty"),
        ([np.array([1.0, np.nan])], "sample 1 holds NaN$"),
        ([floats(3, 2), np.full((2, 2), np.inf)], r"sample 3 holds infinity \(2 samples of its batch are"),
        ([{"a": floats(2, 2), "b": floats(3, 2)}], r"differ in their number of samples: \[2, 3\]"),
        ([np.array(["x"])], "<U1"),
        ([np.array([None])], "pickled Python objects|object"),
        ([np.float32(3)], "single number"),
        (np.float32(3), "single number"),
        ([3], "yields int"),
        ([[1.0, 2.0]], "yields float"),
        ([()], "yields tuple"),
        ([{}], "holds no arrays"),
        ([], "no batches"),
        (None, "NoneType, not an iterable"),
        ("data.npy", "str, not an iterable"),
        (7, "int, not an iterable"),
    ):
        with pytest.raises(InputError, match=message):
            list(as_batches(batches))


@given(rows=st.integers(1, 50), batch_size=st.integers(1, 60), cut=st.none() | st.integers(1, 60))
def test_a_whole_data_set_is_cut_into_batches(rows: int, batch_size: int, cut: int | None) -> None:
    x = floats(rows, 2).astype(np.float64)
    for data in (x, {"x": x, "y": np.arange(rows)}):
        batches = list(as_batches(data, batch_size=batch_size, max_samples=cut))
        assert np.array_equal(whole(batches), x[:cut])
        assert whole(batches).dtype == np.float64


def test_tuples_of_inputs_go_by_position() -> None:
    a, b = floats(4, 2), floats(4, 3)
    batch = next(as_batches([((a, b), "labels")]))
    assert batch.names is None
    assert [array.shape for array in batch.arrays] == [(4, 2), (4, 3)]
    assert next(as_batches([(a, b)])).arrays[0] is a
    assert len(next(as_batches([[a, b]])).arrays) == 1
    assert next(as_batches([({"p": a, "q": b}, 3)])).names == ("p", "q")


def test_an_iterator_is_not_read_further_than_needed() -> None:
    def endless() -> Iterator[Any]:
        while True:
            yield floats(4, 2)

    assert sum(batch.size for batch in as_batches(endless(), max_samples=10)) == 10


def test_tensors_are_taken_without_importing_torch() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(12.0, requires_grad=True).reshape(6, 2)
    assert np.array_equal(whole(as_batches(x, batch_size=4)), x.detach().numpy())
    half = x.detach().to(torch.bfloat16)
    batch = next(as_batches([(half, None)]))
    assert batch.arrays[0].dtype == np.float32
    assert np.array_equal(batch.arrays[0], half.float().numpy())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x.detach(), torch.arange(6)), batch_size=4)
    assert [batch.size for batch in as_batches(loader)] == [4, 2]
    with pytest.raises(InputError, match="numpy cannot hold"):
        list(as_batches([x.detach().to_sparse()]))
    dataset = torch.utils.data.TensorDataset(x.detach(), torch.arange(6))
    first, second = as_batches(dataset, batch_size=4)
    assert np.array_equal(np.concatenate([first.arrays[0], second.arrays[0]]), x.detach().numpy())
    assert first.labels is not None and first.labels.tolist() == [0, 1, 2, 3]


def test_anything_with_an_array_interface_is_taken() -> None:
    thing = SimpleNamespace()
    x = floats(3, 2)

    class Foreign:
        shape, dtype = x.shape, x.dtype

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return x

    assert np.array_equal(whole(as_batches([Foreign()])), x)
    with pytest.raises(InputError, match="SimpleNamespace"):
        list(as_batches([thing]))
