"""What --data means, several inputs, random data, and options that do not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from normdiag.data import DataOptions
from normdiag.data.source import open_data
from normdiag.data.specs import as_specs, parse_spec
from normdiag.errors import InputError, NormdiagError, UsageError
from normdiag.records import InputSpec
from tests.data.helpers import floats, pixels, read, whole

A, B = InputSpec("a", "float32", (None, 2)), InputSpec("b", "float32", (None, 3))


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    np.save(tmp_path / "a.npy", floats(9, 2))
    np.save(tmp_path / "b.npy", floats(9, 3, seed=1))
    return str(tmp_path / "a.npy"), str(tmp_path / "b.npy")


@pytest.mark.parametrize(
    ("text", "kind", "name", "target"),
    [
        ("random", "random", None, "random"),
        ("x=random", "random", "x", "random"),
        ("data.npy", "path", None, "data.npy"),
        ("image=data.npy", "path", "image", "data.npy"),
        ("pkg.mod:fn", "code", None, "pkg.mod:fn"),
        ("mod:obj.loader", "code", None, "mod:obj.loader"),
        ("a/b c/net.py:load", "code", None, "a/b c/net.py:load"),
        (r"C:\x\net.py:load", "code", None, r"C:\x\net.py:load"),
        (r"C:\x\data.npy", "path", None, r"C:\x\data.npy"),
        ("C:/x/*.png", "glob", None, "C:/x/*.png"),
        ("val/*/[ab]?.jpg", "glob", None, "val/*/[ab]?.jpg"),
        ("https://example.org/x.npy", "path", None, "https://example.org/x.npy"),
        ("runs/lr=0.1/x.npy", "path", None, "runs/lr=0.1/x.npy"),
        ("x=runs/lr=0.1/x.npy", "path", "x", "runs/lr=0.1/x.npy"),
        ("x=net.py:load", "code", "x", "net.py:load"),
        ("net.py", "path", None, "net.py"),
    ],
)
def test_what_an_argument_means(text: str, kind: str, name: str | None, target: str) -> None:
    spec = parse_spec(text)
    assert (spec.kind, spec.name, spec.target) == (kind, name, target)


def test_what_exists_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mod:fn", "a=b.npy", "[1].npy"):
        np.save(tmp_path / "x.npy", floats(2, 2))
        (tmp_path / "x.npy").rename(tmp_path / name)
        assert read(name).shape == (2, 2)


@pytest.mark.parametrize(
    "text", ["absent.npy", "https://example.org/x.npy", "", "x=", "a\0b", "y" * 5000, "absent/*.png"]
)
def test_data_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        open_data([text])


def test_the_input_names_of_a_model_may_be_anything(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", floats(3, 2))
    inputs = [InputSpec("serving/x:0", "float32", (None, 2))]
    batch = next(iter(open_data([f"serving/x:0={tmp_path}/x.npy"], None, inputs)))
    assert batch.names == ("serving/x:0",)
    with pytest.raises(InputError, match="no input 'images'; its inputs are serving/x:0"):
        open_data([f"images={tmp_path}/x.npy"], None, inputs)


def test_several_inputs_go_by_order_or_by_name(two: tuple[str, str]) -> None:
    a, b = two
    for specs in ([a, b], [f"b={b}", f"a={a}"]):
        batches = list(open_data(specs, DataOptions(batch_size=4), [A, B]))
        assert [batch.size for batch in batches] == [4, 4, 1]
        names = batches[0].names or ()
        assert np.array_equal(whole(batches, names.index("a")), np.load(a))
        assert np.array_equal(whole(batches, names.index("b")), np.load(b))
    assert next(iter(open_data([a, b]))).names is None
    assert next(iter(open_data([f"p={a}", f"q={b}"]))).names == ("p", "q")


def test_inputs_that_do_not_go_together_are_refused(two: tuple[str, str], tmp_path: Path) -> None:
    a, b = two
    np.save(tmp_path / "short.npy", floats(8, 3))
    with pytest.raises(InputError, match=r"number of samples \(.*a\.npy: 9, .*short\.npy: 8\)"):
        open_data([a, str(tmp_path / "short.npy")])
    (tmp_path / "code.py").write_text("import numpy as np\ndef f():\n    yield np.zeros((4, 3))\n")
    with pytest.raises(InputError, match=r"different sizes .*a\.npy: 9, .*code\.py:f: 4"):
        list(open_data([a, f"{tmp_path}/code.py:f"]))
    with pytest.raises(InputError, match=r"different sizes .*ended"):
        list(open_data([a, f"{tmp_path}/code.py:f"], DataOptions(batch_size=4)))
    with pytest.raises(NormdiagError, match="wanted: a, b"):
        list(open_data([a], None, [A, B]))
    with pytest.raises(InputError, match="missing: b"):
        list(open_data([f"a={a}"], None, [A, B]))
    with pytest.raises(UsageError, match="given twice"):
        list(open_data([f"a={a}", f"a={a}"]))
    with pytest.raises(UsageError, match="some is not"):
        list(open_data([f"a={a}", b]))
    with pytest.raises(InputError, match="takes 1 input "):
        list(open_data([a, b], None, [A]))


def test_wrong_shapes_name_the_input(two: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=r"'b' takes \(N, 3\), the data gives \(N, 2\)"):
        list(open_data([two[0]], None, [B]))
    with pytest.raises(InputError, match=r"takes \(N, \?, 3\)"):
        list(open_data([two[0]], None, [InputSpec("x", "float32", (1, None, 3))]))


def test_the_recipe_goes_to_the_images_among_several_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=pixels(3, 4, 4, 3), meta=floats(3, 5), ids=np.ones((3, 2), np.int64))
    inputs = [InputSpec("image", "float32", (None, 3, 4, 4)), InputSpec("meta", "float32", (None, 5))]
    inputs.append(InputSpec("ids", "int64", (None, 2)))
    for preprocess in (None, "imagenet"):
        source = open_data([str(tmp_path / "x.npz")], DataOptions(preprocess=preprocess), inputs)
        image, meta, ids = next(iter(source)).arrays
        assert image.shape == (3, 3, 4, 4)
        assert np.array_equal(meta, floats(3, 5))
        assert ids.dtype == np.int64
        assert source.info.preprocess == (preprocess or "unit (default for 8-bit data)")


def test_random_data_is_standard_normal_seeded_and_marked() -> None:
    def draw(**options: object) -> np.ndarray:  # type: ignore[type-arg]
        return read("random", input_shapes=("3,8,8",), **options)

    x = draw(max_samples=200)
    assert x.shape == (200, 3, 8, 8)
    assert x.dtype == np.float32
    assert abs(float(x.mean())) < 0.02
    assert abs(float(x.std()) - 1) < 0.02
    assert np.array_equal(draw(max_samples=200, batch_size=7), x)
    assert not np.array_equal(draw(max_samples=200, seed=1), x)
    info = open_data(["random"], DataOptions(input_shapes=("4",))).info
    assert (info.random, info.total, info.preprocess) == (True, 64, None)


def test_random_data_follows_the_declared_inputs() -> None:
    inputs = [
        InputSpec("image", "float16", (1, 3, 8, 8)),
        InputSpec("ids", "int64", (1, None)),
        InputSpec("mask", "bool", (None, 4)),
    ]
    options = DataOptions(input_shapes=("ids=6",), max_samples=50)
    batch = next(iter(open_data(["random"], options, inputs)))
    assert [(a.shape, str(a.dtype)) for a in batch.arrays] == [
        ((32, 3, 8, 8), "float16"), ((32, 6), "int64"), ((32, 4), "bool"),
    ]  # fmt: skip
    assert batch.names == ("image", "ids", "mask")
    assert set(np.unique(batch.arrays[1])) == {0, 1}


def test_input_shapes_may_be_typed_named_and_counted_with_the_samples() -> None:
    batch = next(iter(open_data(["random"], DataOptions(input_shapes=("x=2x3", "n=4:int32")))))
    assert [(a.shape, str(a.dtype)) for a in batch.arrays] == [((32, 2, 3), "float32"), ((32, 4), "int32")]
    assert batch.names == ("x", "n")
    inputs = [InputSpec("x", "float32", (None, 3, None, None))]
    for shape in ("3,5,6", "1,3,5,6"):
        assert read("random", tuple(inputs), input_shapes=(shape,)).shape == (64, 3, 5, 6)


@pytest.mark.parametrize(
    ("shapes", "inputs", "message"),
    [
        ((), [], "needs --input-shape"),
        ((), [InputSpec("x", "float32", (1, 3, None, 8))], r"'x' has the shape \(1, 3, \?, 8\); .*--input-shape x="),
        ((), [InputSpec("x", "float32", None)], "shape .unknown"),
        (("3,a",), [], "give the sizes"),
        (("3,0",), [], "give the sizes"),
        (("z=3",), [A], "does not fit the model's inputs: a"),
        (("2", "3"), [A], "does not fit"),
        ((), [InputSpec("x", "float32", (1, 3)), InputSpec("h", "float32", (2, 4))], r"first axes of \[1, 2\]"),
    ],
)
def test_random_data_without_a_shape_is_refused(shapes: tuple[str, ...], inputs: list[InputSpec], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_data(["random"], DataOptions(input_shapes=shapes), inputs)


def test_options_that_do_not_fit_are_refused(two: tuple[str, str]) -> None:
    for options, message in (
        ({"batch_size": 0}, "--batch-size"),
        ({"max_samples": 0}, "--max-samples"),
        ({"resize": 0}, "--resize"),
        ({"crop": (3, 0)}, "--crop"),
        ({"layout": "chw"}, "layout"),
    ):
        with pytest.raises(UsageError, match=message):
            DataOptions(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--input-shape is for"):
        open_data([two[0]], DataOptions(input_shapes=("3",)))
    with pytest.raises(UsageError, match="--preprocess does not apply"):
        open_data(["random"], DataOptions(input_shapes=("3",), preprocess="unit"))
    with pytest.raises(UsageError, match="--data"):
        open_data([])


def test_no_framework_is_imported(two: tuple[str, str]) -> None:
    code = (
        "import sys; from normdiag.data.source import open_data; "
        f"print(sum(b.size for b in open_data([{two[0]!r}]))); "
        "print({'torch', 'onnx', 'onnxruntime', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["9", "set()"]


def test_what_python_hands_over_as_data() -> None:
    assert as_specs("random") == ("random",) and as_specs(["a.npy", "b.npy"]) == ("a.npy", "b.npy")
    with pytest.raises(UsageError, match="data holds a ndarray, where it names files: give arrays"):
        as_specs([np.zeros(3)])  # type: ignore[list-item]
