"""ND209: statistics of other weights are found without data, and those of networks that learned them are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from normdiag.graph import graph_of, open_model
from normdiag.metrics import measure_drift
from normdiag.metrics.predicted import predicted_means
from normdiag.records import ChannelSums, Finding, LayerMetrics, NormLayer, Report
from normdiag.rules import Context
from tests.rules.graph_reports import found, seen

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
Arrays = dict[str, NDArray[np.float32]]
DEPTH, CHANNELS = 8, 16
NAMES = [f"bn{i}" for i in range(1, DEPTH)]


def chain(channels: int = CHANNELS, size: int = 9) -> str:
    """Convolution, BatchNorm, ReLU, again and again; the mean of the first norm's input cannot be predicted."""
    body = " ".join(
        f"c{i} = Conv <pads=[1,1,1,1]> (r{i - 1}, w{i}) "
        f"[bn{i}] n{i} = BatchNormalization (c{i}, g{i}, b{i}, m{i}, v{i}) r{i} = Relu(n{i})"
        for i in range(DEPTH)
    )
    shape = f"float[N,{channels},{size},{size}]"
    return f"g ({shape} x) => ({shape} y) {{ {body} y = Identity(r{DEPTH - 1}) }}".replace("(r-1,", "(x,")


def trained(folder: Path, channels: int = CHANNELS, seed: int = 0, size: int = 9) -> Arrays:
    """Weights with the statistics that belong to them: the predicted means, and some error of real networks."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for i in range(DEPTH):
        arrays[f"w{i}"] = rng.normal(size=(channels, channels, 3, 3)).astype(np.float32) / 10
        arrays[f"g{i}"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        arrays[f"b{i}"] = rng.normal(size=channels).astype(np.float32) * 0.3
        arrays[f"m{i}"] = rng.normal(size=channels).astype(np.float32)
        arrays[f"v{i}"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
    graph = seen(folder, chain(channels, size), **arrays).graph
    assert graph is not None
    for each in predicted_means(graph):
        error = rng.normal(size=channels) * 0.15 * each.s
        arrays[f"m{each.layer[2:]}"] = (each.predicted + error).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return trained(tmp_path_factory.mktemp("healthy"))


def findings(folder: Path, arrays: Mapping[str, NDArray[np.float32]], **limits: float) -> list[Finding]:
    return found("ND209", seen(folder, chain(len(arrays["g0"])), **arrays), **limits)


def test_statistics_of_these_weights_are_left_alone(tmp_path: Path, healthy: Arrays) -> None:
    assert not findings(tmp_path, healthy)
    assert findings(tmp_path, healthy, off=0.1, relative=0.05), "the layers are judged"


def shuffled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.roll(values, 5))


ONE = {
    "shuffled channels": lambda a: {"m3": shuffled(a["m3"]), "v3": shuffled(a["v3"])},
    "means of zero": lambda a: {"m3": 0 * a["m3"]},
    "another layer's": lambda a: {"m3": a["m5"], "v3": a["v5"]},
    "of the opposite sign": lambda a: {"m3": -a["m3"]},
    "far too large": lambda a: {"m3": 5 * a["m3"]},
}


@pytest.mark.parametrize("fault", ONE.values(), ids=ONE)
def test_one_layer_with_statistics_of_its_own(tmp_path: Path, healthy: Arrays, fault: object) -> None:
    (finding,) = findings(tmp_path, {**healthy, **fault(healthy)})  # type: ignore[operator]
    assert (finding.layer, finding.severity, finding.confidence) == ("bn3", "warning", "medium")
    assert float(finding.evidence["off"] or 0) > 0.4
    assert finding.message.startswith("bn3: ")
    assert "update_bn" in finding.remedy


def test_another_kernel_in_front(tmp_path: Path, healthy: Arrays) -> None:
    (finding,) = findings(tmp_path, {**healthy, "w4": healthy["w5"]})
    assert finding.layer == "bn4"


def test_gamma_and_beta_of_another_model_show_in_the_layer_behind(tmp_path: Path, healthy: Arrays) -> None:
    (finding,) = findings(tmp_path, {**healthy, "b3": np.float32(3) * shuffled(healthy["b3"]) - 2})
    assert finding.layer == "bn4"


def test_statistics_of_another_training_are_one_finding(tmp_path: Path, healthy: Arrays) -> None:
    other = trained(tmp_path, seed=1)
    foreign = {name: values for name, values in other.items() if name[0] in "mv"}
    (finding,) = findings(tmp_path, {**healthy, **foreign})
    assert (finding.layer, finding.confidence) == ("bn1", "high")
    assert finding.evidence["layers"] == finding.evidence["judged"] == len(NAMES)


def test_an_export_for_smaller_inputs_names_both_causes(tmp_path: Path) -> None:
    arrays = trained(tmp_path, size=240)
    for i in range(DEPTH):
        arrays[f"b{i}"] = np.abs(arrays[f"b{i}"]) + np.float32(2)  # means that the border lowers by much
    for each in predicted_means(seen(tmp_path, chain(size=240), **arrays).graph):  # type: ignore[arg-type]
        arrays[f"m{each.layer[2:]}"] = each.predicted.astype(np.float32)
    assert not found("ND209", seen(tmp_path, chain(size=240), **arrays))
    small = found("ND209", seen(tmp_path, chain(size=2), **arrays))
    assert small and all("inputs of another size than in training" in each.message for each in small)
    assert all("other weights" in each.message and "of that size" in (each.remedy or "") for each in small)
    (foreign,) = found("ND209", seen(tmp_path, chain(size=240), **{**arrays, "m3": -arrays["m3"]}))
    assert foreign.layer == "bn3" and "another size" not in foreign.message + (foreign.remedy or "")


def test_three_wrong_layers_are_named_each(tmp_path: Path, healthy: Arrays) -> None:
    wrong = {f"m{i}": shuffled(healthy[f"m{i}"]) for i in (2, 4, 6)}
    assert [finding.layer for finding in findings(tmp_path, {**healthy, **wrong})] == ["bn2", "bn4", "bn6"]


def test_far_off_is_not_enough(tmp_path: Path, healthy: Arrays) -> None:
    """Means nearly twice too large still have much in common with the weights."""
    scaled = {f"m{i}": np.float32(1.9) * healthy[f"m{i}"] for i in range(DEPTH)}
    assert not findings(tmp_path, {**healthy, **scaled})
    assert findings(tmp_path, {**healthy, **scaled}, relative=0.5)


def test_unrelated_is_not_enough(tmp_path: Path, healthy: Arrays) -> None:
    """Means of zero where the true ones are 0.3 standard deviations: next to nothing."""
    means = {i: healthy[f"m{i}"] for i in range(1, DEPTH)}
    zero = {f"m{i}": 0 * mean for i, mean in means.items()}
    small = {f"v{i}": np.full(CHANNELS, np.mean(mean**2) / 0.09, np.float32) for i, mean in means.items()}
    assert not findings(tmp_path, {**healthy, **small, **zero})
    assert findings(tmp_path, {**healthy, **small, **zero}, off=0.25)


# Traps


def test_never_updated_is_another_rule_s_finding(tmp_path: Path, healthy: Arrays) -> None:
    reset: Arrays = {}
    for i in range(DEPTH):
        reset |= {f"m{i}": np.zeros(CHANNELS, np.float32), f"v{i}": np.ones(CHANNELS, np.float32)}
    report = seen(tmp_path, chain(), **{**healthy, **reset})
    assert not found("ND209", report)
    assert len(found("ND104", report)) == DEPTH


def test_dead_channels_do_not_count(tmp_path: Path, healthy: Arrays) -> None:
    dead = {name: values.copy() for name, values in healthy.items()}
    dead["v3"][:6], dead["m3"][:6] = 1e-12, 50
    assert not findings(tmp_path, dead)


WORTHLESS = {
    "variances of zero": ("v3", 0.0),
    "variances far below eps": ("v3", 1e-9),
    "gamma of zero": ("g3", 0.0),
}


@pytest.mark.parametrize(("name", "value"), WORTHLESS.values(), ids=WORTHLESS)
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_trap_the_layer_behind_one_that_passes_nothing_on(
    tmp_path: Path, healthy: Arrays, monkeypatch: pytest.MonkeyPatch, name: str, value: float, share: float
) -> None:
    """The fault is in bn3; the statistics of bn4 are right."""
    loud = {**healthy, "g3": np.float32(4) * healthy["g3"]}
    graph = seen(tmp_path, chain(), **loud).graph
    assert graph is not None
    loud["m4"] = next(each.predicted for each in predicted_means(graph) if each.layer == "bn4").astype(np.float32)
    broken = {**loud, name: dead(loud[name], value, share)}
    assert not findings(tmp_path, broken)
    monkeypatch.setattr("normdiag.metrics.laws.MOST_DEAD", 2.0)
    assert [each.layer for each in findings(tmp_path, broken)] == ["bn4"], "it would be blamed"


def dead(values: NDArray[np.float32], value: float, share: float) -> NDArray[np.float32]:
    return np.where(np.arange(len(values)) < share * len(values), np.float32(value), values)


def test_a_few_dead_channels_in_front_hide_nothing(tmp_path: Path, healthy: Arrays) -> None:
    for name, value in WORTHLESS.values():
        wrong = {name: dead(healthy[name], value, 0.2), "m4": shuffled(healthy["m4"])}
        assert [each.layer for each in findings(tmp_path, {**healthy, **wrong})] == ["bn4"]


def test_few_channels_do_not_count(tmp_path: Path) -> None:
    arrays = trained(tmp_path, channels=3)
    arrays["m3"] = -arrays["m3"] + 1
    assert not findings(tmp_path, arrays)
    assert findings(tmp_path, arrays, channels=3)


def test_data_that_says_otherwise_is_believed(tmp_path: Path, healthy: Arrays) -> None:
    report = seen(tmp_path, chain(), **{**healthy, "m3": shuffled(healthy["m3"])})
    m = np.random.default_rng(0).normal(size=(400, CHANNELS)) * 0.1
    for shift, fires in ((0.0, False), (2.0, True)):
        drift = measure_drift(ChannelSums.of(m + shift, (m + shift) ** 2 + 0.99), np.ones(CHANNELS), 1e-5)
        rows = tuple(LayerMetrics(each.layer, drift=drift) for each in report.report.layers)
        assert bool(found("ND209", replace(report, report=replace(report.report, layers=rows)))) == fires


def test_without_a_graph_there_is_nothing_to_say(tmp_path: Path, healthy: Arrays) -> None:
    report = seen(tmp_path, chain(), **{**healthy, "m3": shuffled(healthy["m3"])})
    assert found("ND209", report) and not found("ND209", replace(report, graph=None))


def context_of(path: Path) -> Context:
    model = open_model(path)
    return Context(Report(model.info, None, tuple(map(LayerMetrics, model.layers))), graph_of(model))


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.onnx")), ids=lambda path: path.stem)
def test_the_healthy_samples(path: Path) -> None:
    assert not found("ND209", context_of(path))


@pytest.mark.parametrize("name", ["ultraface/version-slim-320.onnx", "gtcrn/stream_onnx_models_gtcrn_simple.onnx"])
def test_healthy_models_of_others(real: object, name: str) -> None:
    assert not found("ND209", context_of(real(name)))  # type: ignore[operator]


def test_the_sample_with_the_statistics_of_another_seed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import onnx
    from onnx import numpy_helper

    foreign = torch.load(SAMPLES / "digits_cnn_foreign.pt", weights_only=True)
    model = onnx.load(SAMPLES / "digits_cnn.onnx")
    for tensor in model.graph.initializer:
        if "running_" in tensor.name:
            tensor.CopyFrom(numpy_helper.from_array(foreign[tensor.name].numpy(), tensor.name))
    path = tmp_path / "foreign.onnx"
    onnx.save(model, path)
    (finding,) = found("ND209", context_of(path))
    assert finding.layer == "norm2"


def test_a_report_of_weights_alone_is_silent() -> None:
    layer = NormLayer("bn", "batch_norm", "weights", 4, 1e-5)
    report = context_of(SAMPLES / "digits_cnn.onnx").report
    assert not found("ND209", replace(report, layers=(LayerMetrics(layer),)))
