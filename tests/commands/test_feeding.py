"""Inputs of ONNX models that are no samples: states, numbers, other axes; against a loop that runs chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import normdiag
from normdiag.data import DataOptions
from normdiag.errors import UsageError
from tests.nets.onnx.nodes import batch_norm, norm_weights, write
from tests.nets.onnx.values import values_of

X = np.random.default_rng(0).normal(size=(20, 3, 5)).astype(np.float32)
GAIN = np.float32(0.5)


def streaming(
    folder: Path,
    samples: int | str = "n",
    names: tuple[str, str] = ("state", "stateN"),
    *,
    conv: bool = False,
    gain: float = float(GAIN),
    file: str = "net.onnx",
) -> Path:
    """y = BatchNorm(x + state * rate), with state' = state * gain + x as an output; the state is (2, N, 3, 5).

    With `conv` a convolution stands before the norm.
    """
    into, out = names
    kernel = np.random.default_rng(1).normal(size=(3, 3, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", [into, "zero"], ["s"], axis=0),
        helper.make_node("Mul", ["s", "rate"], ["r"]),
        helper.make_node("Add", ["x", "r"], ["a"]),
        *([helper.make_node("Conv", ["a", "kernel"], ["b"])] if conv else []),
        batch_norm("b" if conv else "a", "y"),
        helper.make_node("Mul", ["s", "gain"], ["g"]),
        helper.make_node("Add", ["g", "x"], ["next"]),
        helper.make_node("Unsqueeze", ["next", "axes"], ["u"]),
        helper.make_node("Concat", ["u", "u"], [out], axis=0),
    ]
    weights = norm_weights(3) | {"zero": np.array(0), "gain": np.float32(gain), "axes": np.array([0])}
    weights |= {"kernel": kernel} if conv else {}
    inputs: dict[str, Any] = {"x": [samples, 3, 5], into: [2, samples, 3, 5], "rate": []}
    written = write(folder, nodes, inputs, ["y", out], weights)
    return written.rename(folder / file)


def chunk_by_chunk(path: Path, rate: float, names: tuple[str, str] = ("state", "stateN")) -> np.ndarray:
    """The input of the norm, as a loop of one's own would see it."""
    into, out = names
    state, seen = np.zeros((2, 1, 3, 5), np.float32), []
    for x in X:
        found = values_of(path, ["a", out], {"x": x[None], into: state, "rate": np.array(rate, np.float32)})
        seen.append(found["a"])
        state = found[out]
    return np.concatenate(seen)


def options(**given: Any) -> DataOptions:
    return DataOptions(batch_size=6, **given)


@pytest.mark.parametrize("samples", ["n", 1])
@pytest.mark.parametrize("names", [("state", "stateN"), ("h", "hn"), ("cache_in", "cache_out"), ("h0", "hn")])
def test_states_are_fed_back_from_the_output_of_their_name(
    samples: int | str, names: tuple[str, str], tmp_path: Path
) -> None:
    path = streaming(tmp_path, samples, names)
    np.save(tmp_path / "x.npy", X)
    report = normdiag.inspect(path, data=[str(tmp_path / "x.npy")], data_options=options(constants=("rate=0.25",)))
    seen = chunk_by_chunk(path, 0.25, names).astype(np.float64)
    layer = report.layers[0].layer
    assert layer.running_mean is not None and layer.running_var is not None and layer.eps is not None
    z = (seen.mean((0, 2)) - layer.running_mean) / np.sqrt(layer.running_var + layer.eps)
    drift = report.layers[0].drift
    assert drift is not None
    np.testing.assert_allclose(drift.z, z, rtol=1e-4, atol=1e-5)
    assert report.data is not None and report.data.batch_size == 6 and report.layers[0].own is not None
    notes = " ".join(report.model.notes)
    assert f"{names[1]} to {names[0]}" in notes and "rate=0.25" in notes


def test_a_number_and_its_option_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--const rate=VALUE"):
        normdiag.inspect(streaming(tmp_path), data=["random"])


def test_a_state_that_no_output_gives_is_zero_for_every_sample(tmp_path: Path) -> None:
    path = streaming(tmp_path, "n", ("state", "other"))
    np.save(tmp_path / "x.npy", X)
    given = options(constants=("rate=1",))
    report = normdiag.inspect(path, data=[str(tmp_path / "x.npy")], data_options=given)
    assert any(
        "zeros for every sample: state" in note and "--state OUTPUT=state" in note for note in report.model.notes
    )
    told = options(constants=("rate=1",), states=("other=state",))
    fed_back = normdiag.inspect(path, data=[str(tmp_path / "x.npy")], data_options=told)
    assert report.layers[0].drift is not None and fed_back.layers[0].drift is not None
    assert report.layers[0].drift.rms != fed_back.layers[0].drift.rms
    with pytest.raises(UsageError, match="no output 'othr'; did you mean 'other'"):
        normdiag.inspect(path, data=["random"], data_options=options(constants=("rate=1",), states=("othr=state",)))


def test_dicts_from_code_fit_any_signature(tmp_path: Path) -> None:
    path = streaming(tmp_path, 1)
    batches = [{"x": x[None], "state": np.full((2, 1, 3, 5), 0.5, np.float32), "rate": 2.0} for x in X]
    report = normdiag.inspect(path, batches)
    layer, drift = report.layers[0].layer, report.layers[0].drift
    assert layer.running_mean is not None and layer.running_var is not None and layer.eps is not None
    z = ((X + 1.0).mean((0, 2)) - layer.running_mean) / np.sqrt(layer.running_var + layer.eps)
    assert drift is not None
    np.testing.assert_allclose(drift.z, z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", ["n", 1])
def test_samples_on_another_axis(samples: int | str, tmp_path: Path) -> None:
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 2, 0]), batch_norm("t", "y")]
    path = write(tmp_path, nodes, {"x": [5, samples, 3]}, ["y"], norm_weights(3))
    data = X.transpose(0, 2, 1)
    report = normdiag.inspect(path, data, data_options=options(input_axes=("x=1",)))
    plain = normdiag.inspect(write_plain(tmp_path), X, data_options=options())
    assert report.layers[0].drift is not None and plain.layers[0].drift is not None
    assert report.layers[0].drift.rms == pytest.approx(plain.layers[0].drift.rms, rel=1e-5)
    assert report.data is not None and report.data.batch_size == 6


def write_plain(folder: Path) -> Path:
    return write(folder, [batch_norm("x", "y")], {"x": ["n", 3, 5]}, ["y"], norm_weights(3))


def test_first_axes_that_differ_name_the_ways_out(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["c"]), batch_norm("c", "y")]
    path = write(tmp_path, nodes, {"a": [1, 3, 5], "b": [2, 1, 1]}, ["y"], norm_weights(3))
    with pytest.raises(UsageError, match=r"a: 1, b: 2.*--input-axis.*--const.*--state"):
        normdiag.inspect(path, data=["random"])


def test_options_for_onnx_are_refused_for_pytorch() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(UsageError, match="--const is for ONNX"):
        normdiag.inspect(torch.nn.BatchNorm1d(3), X, data_options=options(constants=("a=1",)))


def test_a_shipped_streaming_model_is_measured(real: Callable[[str], Path]) -> None:
    path = real("gtcrn/stream_onnx_models_gtcrn_simple.onnx")
    report = normdiag.inspect(path, data=["random"], data_options=DataOptions(max_samples=6))
    assert sum(each.drift is not None for each in report.layers) == 11
    assert any("conv_cache_out to conv_cache" in note for note in report.model.notes)


@pytest.mark.parametrize("samples", ["n", 1])
def test_folds_are_verified_with_the_states_that_the_samples_find(samples: int | str, tmp_path: Path) -> None:
    path, x = streaming(tmp_path, samples, conv=True), str(tmp_path / "x.npy")
    np.save(x, X)
    result = normdiag.fold(path, data=[x], data_options=options(constants=("rate=0.25",)))
    verification = result.verification
    assert verification is not None and verification.passed and verification.samples == len(X)
    assert "stateN to state" in str(verification.note) and "rate=0.25" in str(verification.note)
    with pytest.raises(UsageError, match="--const rate=VALUE"):
        normdiag.fold(path, data=[x])
    with pytest.raises(UsageError, match="no input 'rat'; did you mean 'rate'"):
        normdiag.fold(path, data=[x], data_options=options(constants=("rat=0.25",)))


def test_made_up_inputs_of_a_fold_leave_constants_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from normdiag.folding.onnx import evaluate

    seen, plain = [], evaluate.make_feed

    def noting(*given: Any) -> Any:
        feed = plain(*given)
        seen.append(float(feed["rate"]))
        return feed

    monkeypatch.setattr(evaluate, "make_feed", noting)
    result = normdiag.fold(streaming(tmp_path, conv=True), data_options=options(constants=("rate=0.25",)))
    assert result.verification is not None and result.verification.passed
    assert set(seen) == {0.25}


def test_two_streaming_models_part_where_their_states_do(tmp_path: Path) -> None:
    """With zeros for states these two are equal: what is kept of the sample before is what differs."""
    one, two = streaming(tmp_path, file="a.onnx"), streaming(tmp_path, gain=0.4, file="b.onnx")
    given = options(constants=("rate=0.25",))
    same = normdiag.diff(one, one, X, data_options=given)
    assert same.on_data is not None and same.on_data.agree and same.on_data.samples == 18
    apart = normdiag.diff(one, two, X, data_options=given).on_data
    assert apart is not None and not apart.agree
    assert [each.a for each in apart.outputs if each.departs] == ["stateN"]


def test_sizes_are_guessed_with_the_states_fed(tmp_path: Path) -> None:
    """silero's models leave the length free, and have a state beside; aecmos's state is of one sample alone."""
    nodes = [
        helper.make_node("ReduceMean", ["state"], ["m"], axes=[0, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["m", "axes"], ["u"]),
        helper.make_node("Add", ["x", "u"], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
        helper.make_node("Identity", ["state"], ["stateN"]),
    ]
    for samples, seen in (("n", 64), (1, 64)):
        inputs = {"x": ["n", "length"], "state": [2, samples, 128]}
        path = write(tmp_path, nodes, inputs, ["y", "stateN"], {"axes": np.array([1])})
        report = normdiag.inspect(path, data=["random"])
        assert report.data is not None and report.data.samples == seen and len(report.activations) == 1
        assert any("input x 128" in note or "of x 128" in note for note in report.model.notes)
