import numpy as np
import pytest

from normdiag.records import Concat, Pass, Reshape, Size, Split, Take, Transpose, Window
from tests.graph.importers.onnx.graph_checks import by_output, check_text, only, read_text, why

ANY, POSITIVE = "any", "non_negative"
# name: (call, operator set, window)
WINDOWS = {
    "average pool": ("AveragePool<kernel_shape=[2, 2]>(x)", 17, Window((2, 3))),
    "average pool, padded": ("AveragePool<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(x)", 17, Window((2, 3))),
    "average pool, padding counted": (
        "AveragePool<kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1>(x)",
        17,
        Window((2, 3), shift=False),
    ),
    "average pool, nothing to count": ("AveragePool<kernel_shape=[3, 3], count_include_pad=1>(x)", 17, Window((2, 3))),
    "average pool, same, counted": (
        'AveragePool<kernel_shape=[3, 3], auto_pad="SAME_UPPER", count_include_pad=1>(x)',
        17,
        Window((2, 3), shift=False),
    ),
    "average pool over the edge": (
        "AveragePool<kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1>(x)",
        19,
        Window((2, 3)),
    ),
    "average pool over the edge, counting": (
        "AveragePool<kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1>(x)",
        19,
        Window((2, 3), shift=False),
    ),
    "average pool to the edge": ("AveragePool<kernel_shape=[2, 3], ceil_mode=1>(x)", 19, Window((2, 3))),
    "max pool": ("MaxPool<kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]>(x)", 17, Window((2, 3), POSITIVE)),
    "global average": ("GlobalAveragePool(x)", 17, Window((2, 3))),
    "global maximum": ("GlobalMaxPool(x)", 17, Window((2, 3), POSITIVE)),
    "mean": ("ReduceMean<axes=[2, 3]>(x)", 17, Window((2, 3))),
    "mean from the end": ("ReduceMean<axes=[-1], keepdims=0>(x)", 17, Window((3,), removed=True)),
    "mean by an input": ("ReduceMean<keepdims=0>(x, spatial)", 18, Window((2, 3), removed=True)),
    "mean of all": ("ReduceMean(x)", 18, Window((0, 1, 2, 3))),
    "mean of nothing": ("ReduceMean<noop_with_empty_axes=1>(x)", 18, Window(())),
    "sum": ("ReduceSum(x, spatial)", 17, Window((2, 3), total=35)),
    "maximum": ("ReduceMax<axes=[2]>(x)", 17, Window((2,), POSITIVE)),
    "minimum": ("ReduceMin<axes=[2], keepdims=0>(x)", 17, Window((2,), POSITIVE, removed=True)),
    "nearest": ("Resize(x, , double)", 17, Window((2, 3))),
    "linear": ('Resize<mode="linear">(x, , half)', 17, Window((2, 3))),
    "cubic": ('Resize<mode="cubic", coordinate_transformation_mode="align_corners">(x, , double)', 17, Window((2, 3))),
    "resize along axes": ("Resize<axes=[3, 2]>(x, , two_of)", 18, Window((2, 3))),
    "resize of channels": ("Resize(x, , channels)", 17, Window((1,))),
    "resize of opset 10": ("Resize(x, double)", 10, Window((2, 3))),
    "upsample": ("Upsample(x, double)", 9, Window((2, 3))),
    "upsample of opset 7": ("Upsample<scales=[1.0, 1.0, 2.0, 1.0]>(x)", 7, Window((2,))),
    "pad": ("Pad(x, around)", 17, Window((2, 3), shift=False)),
    "pad with zero": ("Pad(x, around, zero)", 17, Window((2, 3), shift=False)),
    "reflected": ('Pad<mode="reflect">(x, around)', 17, Window((2, 3))),
    "edge": ('Pad<mode="edge">(x, around)', 17, Window((2, 3))),
    "wrapped": ('Pad<mode="wrap">(x, around)', 19, Window((2, 3))),
    "cropped": ("Pad(x, inside)", 17, Window((2, 3))),
    "pad of channels": ("Pad(x, channel, , last_but)", 18, Window((1,), shift=False)),
    "pad of opset 2": ("Pad<pads=[0, 0, 0, 1, 0, 0, 0, 0]>(x)", 10, Window((3,), shift=False)),
    "slice": ("Slice(x, starts, ends)", 17, Take(2, (range(1, 4),))),
    "slice of opset 1": ("Slice<starts=[1], ends=[3], axes=[-1]>(x)", 9, Take(3, (range(1, 3),))),
    "slice of channels": ("Slice(x, one_, end_, one_)", 17, Take(1, (range(1, 4),))),
    "slice backwards": ("Slice(x, last_, first_, one_, last_)", 17, Take(1, (range(3, -1, -1),))),
    "one position": ("Gather<axis=2>(x, index)", 17, Take(2, ((1,),), removed=True)),
    "some positions": ("Gather<axis=-1>(x, indices)", 17, Take(3, ((3, 0),))),
    "channels from the end": ("Gather<axis=1>(x, behind)", 17, Take(1, ((3, 2, 3),))),
}
ARRAYS = {
    "double": np.array([1, 1, 2, 3], np.float32),
    "half": np.array([1, 1, 0.5, 0.5], np.float32),
    "two_of": np.array([2, 2], np.float32),
    "channels": np.array([1, 2, 1, 1], np.float32),
    "around": np.array([0, 0, 1, 0, 0, 0, 2, 1]),
    "inside": np.array([0, 0, -1, 0, 0, 0, 0, -1]),
    "channel": np.array([1, 1]),
    "last_but": np.array([-3]),
    "starts": np.array([0, 0, 1, 0]),
    "ends": np.array([2**63 - 1, 4, 4, 2**31 - 1]),
    "axes": np.array([0, 1, 2, 3]),
    "steps": np.array([1, 1, 1, 2]),
    "index": np.array(1),
    "indices": np.array([3, 0]),
    "one": np.float32(1),
    "one_": np.array([1]),
    "end_": np.array([100]),
    "last_": np.array([-1]),
    "first_": np.array([-100]),
    "behind": np.array([-1, -2, 3]),
}


def image(call: str) -> str:
    return f"g (float[N,4,5,7] x) => (y) {{ y = {call} }}"


@pytest.mark.parametrize("case", WINDOWS)
def test_window(case: str) -> None:
    call, opset, window = WINDOWS[case]
    graph = check_text(image(call), opset, **ARRAYS)
    op = by_output(graph, "y")
    assert op.detail == window
    assert op.inputs == ("x",)


@pytest.mark.parametrize(
    ("call", "opset", "reason"),
    [
        ("LpPool<kernel_shape=[2, 2]>(x)", 17, "not linear"),
        ('Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, roi, double)', 17, "tf_crop_and_resize"),
        ("Pad(x, around, one)", 17, "other than zero"),
        ("Pow(x, two)", 17, "nonlinearity"),
        ("Relu(x)", 17, "nonlinearity"),
        ("Softmax(x)", 17, "nonlinearity"),
        ("Div(one, x)", 17, "a nonlinearity"),
    ],
)
def test_what_nothing_goes_through(call: str, opset: int, reason: str) -> None:
    arrays = {**ARRAYS, "roi": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32)}
    assert reason in why(check_text(image(call), opset, **arrays), "y")


def test_a_maximum_whose_place_is_used() -> None:
    graph = check_text("g (float[N,4,6,6] x) => (y, i) { y, i = MaxPool<kernel_shape=[2, 2]>(x) }")
    assert "place" in why(graph, "y")


@pytest.mark.parametrize(
    "call",
    [
        "AveragePool(x)",
        "AveragePool<kernel_shape=[2, 2], strides=[1], ceil_mode=1>(x)",
        "Resize<axes=[9]>(x)",
        'Resize<mode="other">(x, z, z)',
        "Pad(x, z)",
        "Pad(x, p)",
        "Slice(x, s, s, p)",
        "Slice(x, s)",
        "Gather(x, z)",
        "Gather<axis=7>(x, s)",
        "ReduceMean<axes=[9]>(x)",
        "ReduceMean<axes=[1, 1]>(x)",
        'ReduceMean<axes="1">(x)',
        "Transpose<perm=[0, 0, 1, 2]>(x)",
        "Transpose<perm=[0]>(x)",
        "Split<axis=9>(x)",
        "Concat(x, x)",
        "Sub(x)",
        "Reshape(x, f)",
    ],
)
def test_what_does_not_fit_is_opaque(call: str) -> None:
    text = f"g (float[N,4,5,7] x, float[4] z) => (y) {{ f = Relu(z)  y = {call} }}"
    graph = read_text(text, 17, p=np.array([2**40, -9]), s=np.array([1]))
    assert why(graph, "y")


def test_passes() -> None:
    graph = check_text(
        "g (float[N,4] x) => (y) { a = Identity(x)  b = Dropout(a, tenth)  y = Cast<to=11>(b) }", tenth=np.float32(0.1)
    )
    assert [op.detail for op in graph.ops] == [Pass(), Pass(keep=0.9), Pass()]


@pytest.mark.parametrize(
    ("call", "opset", "keep"),
    [
        ("Dropout(x)", 13, 0.5),
        ("Dropout<ratio=0.2>(x)", 11, 0.8),
        ("Dropout(x, fifth, no)", 13, 0.8),
        ("Dropout(x, fifth, yes)", 13, None),
        ("Dropout<is_test=1>(x)", 6, None),
    ],
)
def test_dropout(call: str, opset: int, keep: float | None) -> None:
    graph = read_text(
        f"g (float[N,4] x) => (y) {{ y = {call} }}",
        opset,
        fifth=np.float32(0.2),
        no=np.array(False),
        yes=np.array(True),
    )
    if keep is None:
        assert why(graph, "y")
    else:
        assert by_output(graph, "y").detail == Pass(keep=keep)


@pytest.mark.parametrize(("to", "exact"), [(1, True), (10, False), (11, True), (7, False)])
def test_casts(to: int, exact: bool) -> None:
    graph = check_text(f"g (float[N,4] x) => (y) {{ y = Cast<to={to}>(x) }}")
    if exact:
        assert by_output(graph, "y").detail == Pass()
    else:
        assert "which rounds" in why(graph, "y")


def test_joins_and_splits() -> None:
    text = (
        "g (float[N,4,5] x) => (z) { a, b = Split<axis=-2>(x, parts)  c = Concat<axis=-2>(b, a, k)"
        "  z = Transpose<perm=[1, 2, 0]>(c) }"
    )
    graph = check_text(text, parts=np.array([1, 3]), k=np.ones((3, 2, 5), np.float32))
    assert only(graph, Split).detail == Split(1, (1, 3))
    assert only(graph, Concat).detail == Concat(1)
    assert only(graph, Concat).inputs == ("b", "a", "k")
    assert only(graph, Transpose).detail == Transpose((1, 2, 0))


@pytest.mark.parametrize(
    ("call", "opset", "parts"),
    [
        ("a, b = Split<axis=1>(x)", 17, (2, 2)),
        ("a, b = Split<axis=1, split=[1, 3]>(x)", 11, (1, 3)),
        ("a, b = Split<axis=1, num_outputs=2>(x)", 18, (2, 2)),
        ("a, b, c = Split<axis=2, num_outputs=3>(x)", 18, (2, 2, 1)),
    ],
)
def test_split_sizes(call: str, opset: int, parts: tuple[int, ...]) -> None:
    graph = check_text(f"g (float[N,4,5] x) => (a) {{ {call} }}", opset)
    detail = only(graph, Split).detail
    assert isinstance(detail, Split)
    assert detail.parts == parts


def test_slices_that_are_a_split() -> None:
    text = (
        "g (float[N,6,5] x) => (y) { b = Slice(x, two_, four, ax)  a = Slice(x, nil, two_, ax)"
        "  c = Slice(x, four, end, ax)  y = Concat<axis=1>(a, b, c) }"
    )
    arrays = {
        "two_": np.array([2]),
        "four": np.array([-2]),
        "nil": np.array([0]),
        "end": np.array([2**63 - 1]),
        "ax": np.array([1]),
    }
    graph = check_text(text, **arrays)
    op = only(graph, Split)
    assert (op.detail, op.outputs, op.nodes) == (Split(1, (2, 2, 2)), ("a", "b", "c"), (0, 1, 2))


def test_slices_that_overlap_are_none() -> None:
    text = (
        "g (float[N,6,5] x) => (y) { a = Slice(x, nil, four, ax)  b = Slice(x, two_, end, ax)"
        "  y = Concat<axis=1>(a, b) }"
    )
    arrays = {
        "two_": np.array([2]),
        "four": np.array([4]),
        "nil": np.array([0]),
        "end": np.array([6]),
        "ax": np.array([1]),
    }
    graph = check_text(text, **arrays)
    op = only(graph, Take)
    assert (op.detail, op.outputs, op.nodes) == (Take(1, (range(4), range(2, 6))), ("a", "b"), (0, 1))


def test_slices_and_gathers_of_one_tensor_are_one() -> None:
    text = (
        "g (float[N,6,5] x) => (y) { a = Slice(x, nil, four, ax)  b = Identity(x)  c = Gather<axis=1>(b, five)"
        "  y = Concat<axis=1>(a, c) }"
    )
    arrays = {"nil": np.array([0]), "four": np.array([4]), "ax": np.array([1]), "five": np.array([5, 0])}
    op = only(check_text(text, **arrays), Take)
    assert (op.detail, op.inputs, op.outputs) == (Take(1, (range(4), (5, 0))), ("x",), ("a", "c"))
    assert op.operator == "Slice+Gather"


@pytest.mark.parametrize(
    "call",
    [
        "DepthToSpace<blocksize=2>(x)",
        'DepthToSpace<blocksize=2, mode="DCR">(x)',
        'DepthToSpace<blocksize=2, mode="CRD">(x)',
        "SpaceToDepth<blocksize=3>(x)",
    ],
)
@pytest.mark.parametrize("sizes", ["N,8,3,6", "N,8,H,W"])
def test_channels_to_positions_and_back(call: str, sizes: str) -> None:
    free = "H" in sizes
    graph = (read_text if free else check_text)(f"g (float[{sizes}] x) => (y) {{ y = {call} }}")
    assert [type(op.detail) for op in graph.ops] == [Reshape, Transpose, Reshape]


@pytest.mark.parametrize("call", ["DepthToSpace<blocksize=0>(x)", "DepthToSpace(x)", "DepthToSpace<blocksize=2>(x)"])
def test_a_move_of_an_unknown_number_of_channels(call: str) -> None:
    assert "not known" in why(read_text(f"g (float[N,C,3,6] x) => (y) {{ y = {call} }}"), "y")


EXPORTED_PADS = """
    have = Shape(four_pads)  known = Gather<axis=0>(have, nil)  all = Mul(rank, two_i)  more = Sub(all, known)
    rest = ConstantOfShape<value = int64[1] {0}>(more)  both = Concat<axis=0>(four_pads, rest)
    pairs = Reshape(both, as_pairs)  turned = Slice(pairs, last_, first_, nil_, last_)
    columns = Transpose<perm=[1, 0]>(turned)  flat = Reshape(columns, last_)  pads_ = Cast<to=7>(flat)
"""
PADS = {
    "four_pads": np.array([1, 2, -1, 0]),
    "nil": np.array([0]),
    "nil_": np.array([0]),
    "rank": np.array([4]),
    "two_i": np.array([2]),
    "as_pairs": np.array([-1, 2]),
}


def test_pads_that_an_exporter_left_in_the_graph() -> None:
    """torch.onnx.export with do_constant_folding=False."""
    text = f"g (float[N,4,5,7] x) => (y) {{ {EXPORTED_PADS} y = Pad(x, pads_) }}"
    graph = check_text(text, **{**ARRAYS, **PADS, "first_": np.array([-(2**63) + 1])})
    op = by_output(graph, "y")
    assert op.detail == Window((2, 3), shift=False)
    assert graph.sizes["y"][1:] == (Size(4), Size(4), Size(10))


@pytest.mark.parametrize("count", [10**12, 2**62])
def test_a_shape_of_hostile_length_is_not_made(count: int) -> None:
    body = "many = ConstantOfShape<value = int64[1] {0}>(count)  y = Pad(x, many)"
    graph = read_text(f"g (float[N,4,5,7] x) => (y) {{ {body} }}", count=np.array([count]))
    assert "computes" in why(graph, "y")


def test_a_slice_along_several_axes() -> None:
    graph = check_text(image("Slice(x, starts, ends, axes, steps)"), **ARRAYS)
    assert [op.detail for op in graph.ops] == [Take(2, (range(1, 4),)), Take(3, (range(0, 7, 2),))]
    assert graph.ops[0].outputs == graph.ops[1].inputs
    assert [op.nodes for op in graph.ops] == [(0,), (0,)]


@pytest.mark.parametrize("far", [-10, 2**40])
def test_a_lookup_out_of_range(far: int) -> None:
    assert "out of range" in why(read_text(image("Gather<axis=1>(x, far)"), far=np.array([0, far])), "y")


def test_a_slice_of_what_has_no_known_size() -> None:
    text = "g (float[N,C,5] x) => (y) { y = Slice(x, one_, end_, one_) }"
    assert only(check_text(text, **ARRAYS), Take).detail == Take(1, (None,))


def test_reshapes() -> None:
    text = (
        "g (float[N,4,5,1] x) => (y) { a = Flatten(x)  b = Squeeze(x, last)  c = Unsqueeze(b, last)"
        "  d = Reshape(c, to)  y = MatMul(a, w) }"
    )
    graph = check_text(text, to=np.array([0, -1]), w=np.ones((20, 2), np.float32))
    assert sum(op.detail == Reshape() for op in graph.ops) == 4
    assert graph.sizes["a"] == graph.sizes["d"]
