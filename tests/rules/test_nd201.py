"""ND201: what normalizes with its batch, what only looks so, and that its stored statistics set nothing else off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from normdiag.records import LayerMetrics, ModelInfo, NormLayer, Report
from normdiag.rules import with_findings
from tests.rules.graph_reports import bn, found, seen
from tests.rules.test_rules import DATA, drift

TRAINING = "<training_mode=1>"
SHAPE = "g (float[N,4,5,5] x) => (float[N,4,5,5] y)"


def layer(**changes: object) -> NormLayer:
    base = NormLayer(
        "bn1",
        "batch_norm",
        "module",
        4,
        1e-5,
        gamma=np.full(4, 0.7),
        beta=np.full(4, 0.1),
        running_mean=np.full(4, 0.3),
        running_var=np.full(4, 0.9),
        training=True,
        class_name="BatchNorm2d",
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def report(format: str, *layers: NormLayer) -> Report:
    backend = "onnx" if format == "onnx" else "weights"
    return Report(ModelInfo("m", format, backend, None, 1, 1), None, tuple(map(LayerMetrics, layers)))


def test_a_model_exported_in_training_mode_is_one_error_with_all_layers(tmp_path: Path) -> None:
    body = f"{bn('x', 'a', 'bn1', TRAINING)} {bn('a', 'b', 'bn2')} {bn('b', 'y', 'bn3', TRAINING)}"
    (finding,) = found("ND201", seen(tmp_path, f"{SHAPE} {{ {body} }}"))
    assert (finding.severity, finding.layer, finding.confidence) == ("error", "bn1", "high")
    assert finding.message.startswith("bn1, bn3: ")
    assert "in a batch of one it is normalized by itself" in finding.message
    assert "eval mode" in finding.remedy
    assert finding.evidence["layers"] == 2


@pytest.mark.parametrize(("positions", "constant"), [("1,1", 1), ("1,2", 0), ("H,1", 0)])
def test_one_position_means_a_constant_in_a_batch_of_one(tmp_path: Path, positions: str, constant: int) -> None:
    shape = f"g (float[N,4,{positions}] x) => (float[N,4,{positions}] y)"
    (finding,) = found("ND201", seen(tmp_path, f"{shape} {{ {bn('x', 'y', 'bn1', TRAINING)} }}"))
    assert finding.evidence["constant_alone"] == constant
    assert ("the output is the bias, whatever the input" in finding.message) == bool(constant)


def test_behind_a_linear_layer_the_output_for_one_is_a_constant(tmp_path: Path) -> None:
    text = f"g (float[N,4] x) => (float[N,4] y) {{ a = MatMul(x, matrix) {bn('a', 'y', 'bn1', TRAINING)} }}"
    assert found("ND201", seen(tmp_path, text))[0].evidence["constant_alone"] == 1


def test_an_old_operator_set_says_it_by_its_outputs(tmp_path: Path) -> None:
    body = "y, m, v, sm, sv = BatchNormalization (x, gamma4, beta4, mean4, var4)"
    assert found("ND201", seen(tmp_path, f"{SHAPE} {{ {body} }}", opset=9))
    assert not found("ND201", seen(tmp_path, f"{SHAPE} {{ {bn('x', 'y')} }}", opset=9))


MOMENTS = "m = ReduceMean <axes=[0,2,3], keepdims=1> (x)  d = Sub(x, m)  p = Mul(d, d)"


def test_statistics_computed_from_the_batch_cannot_be_mended_by_eval(tmp_path: Path) -> None:
    body = f"""{MOMENTS}
        mean = ReduceMean <axes=[0,2,3], keepdims=0> (x)  var = ReduceMean <axes=[0,2,3], keepdims=0> (p)
        y = BatchNormalization (x, gamma4, beta4, mean, var)"""
    (finding,) = found("ND201", seen(tmp_path, f"{SHAPE} {{ {body} }}"))
    assert finding.severity == "error"
    assert "stored ones" not in finding.message
    assert "track_running_stats" in finding.remedy


def old_export(outputs: str, attributes: str, x: str = "x") -> str:
    """As torch.onnx.export(..., dynamo=False) writes a BatchNorm with track_running_stats=False."""
    return f"""s = Constant <value = int64[3] {{0, 4, -1}}> ()  r = Reshape(x, s)  t = Transpose <perm=[1,0,2]> (r)
        m = ReduceMean <axes=[1,2], keepdims=0> (t)  k = ReduceMean <axes=[1,2], keepdims=1> (t)  d = Sub(t, k)
        p = Mul(d, d)  v = ReduceMean <axes=[1,2], keepdims=0> (p)
        {outputs} = BatchNormalization {attributes} ({x}, gamma4, beta4, m, v)"""


@pytest.mark.parametrize(("opset", "outputs", "attributes"), [(17, "y, c, e", TRAINING), (11, "y, c, e, f, h", "")])
def test_the_older_exporter_without_statistics(tmp_path: Path, opset: int, outputs: str, attributes: str) -> None:
    (finding,) = found("ND201", seen(tmp_path, f"{SHAPE} {{ {old_export(outputs, attributes)} }}", opset))
    assert (finding.severity, finding.evidence["stored"]) == ("error", "no")
    assert not seen(tmp_path, f"{SHAPE} {{ {old_export('y', '')} }}", opset).report.layers, (
        "computed otherwise: not known"
    )


def test_trap_a_layer_norm_in_training_mode_behind_a_reshape(tmp_path: Path) -> None:
    body = (
        f"o = Constant <value = int64[4] {{1, 4, -1, 1}}> ()  q = Reshape(x, o) {old_export('y, c, e', TRAINING, 'q')}"
    )
    assert not found("ND201", seen(tmp_path, f"{SHAPE} {{ {body} }}"))


def test_a_decomposed_norm_over_axis_0_is_a_warning_since_that_may_not_be_the_batch(tmp_path: Path) -> None:
    body = f"""{MOMENTS} v = ReduceMean <axes=[0,2,3], keepdims=1> (p)
        e = Add(v, eps)  s = Sqrt(e)  n = Div(d, s)  t = Mul(n, gamma411)  y = Add(t, beta411)"""
    (finding,) = found("ND201", seen(tmp_path, f"{SHAPE} {{ {body} }}"))
    assert (finding.severity, finding.confidence) == ("warning", "medium")


def test_eval_mode_is_silent(tmp_path: Path) -> None:
    assert not found("ND201", seen(tmp_path, f"{SHAPE} {{ {bn('x', 'y', 'bn1')} }}"))


def test_trap_an_instance_norm_written_as_a_batch_of_one(tmp_path: Path) -> None:
    text = f"""g (float[N,4,25] x) => (float[1,4,M] y) {{
        s = Constant <value = int64[3] {{1, 4, -1}}> ()  a = Reshape(x, s)  {bn("a", "y", "bn1", TRAINING)} }}"""
    assert not found("ND201", seen(tmp_path, text))


def test_a_batch_fixed_at_one_is_no_excuse(tmp_path: Path) -> None:
    text = f"""g (float[1,4,5,5] x) => (float[1,4,25] y) {{
        s = Constant <value = int64[3] {{1, 4, 25}}> ()  a = Reshape(x, s)  {bn("a", "y", "bn1", TRAINING)} }}"""
    assert found("ND201", seen(tmp_path, text))


@pytest.mark.parametrize("format", ["torchscript", "torch-export"])
def test_exported_programs_in_training_mode_are_errors(format: str) -> None:
    assert found("ND201", report(format, layer()))[0].severity == "error"
    assert not found("ND201", report(format, layer(training=False)))
    assert not found("ND201", report(format, layer(training=None)))


@pytest.mark.parametrize("format", ["torch-zip", "torch-legacy", "pickle", "safetensors", "module"])
def test_trap_the_training_flag_of_a_checkpoint(format: str) -> None:
    assert not found("ND201", report(format, layer()))


def test_a_module_that_stores_no_statistics_is_a_warning() -> None:
    bare = layer(running_mean=None, running_var=None)
    assert found("ND201", report("torch-zip", bare))[0].severity == "warning"
    assert not found("ND201", report("torch-zip", replace(bare, class_name="LazyBatchNorm2d")))
    assert not found("ND201", report("torch-zip", replace(bare, origin="weights", class_name=None)))


def test_trap_an_instance_norm_traced_as_a_batch_norm_without_statistics() -> None:
    bare = layer(running_mean=None, running_var=None, class_name=None, origin="weights")
    assert not found("ND201", report("torch-export", bare))


def test_other_kinds_are_silent() -> None:
    for kind in ("instance_norm", "layer_norm", "group_norm"):
        assert not found("ND201", report("onnx", layer(kind=kind)))


def test_what_was_run_counts_more_than_the_flag() -> None:
    assert not found("ND201", report("torchscript", layer(batch_statistics=False)))
    assert found("ND201", report("module", layer(batch_statistics=True)))[0].severity == "warning"


INITIAL = {"running_mean": np.zeros(4), "running_var": np.ones(4)}


def test_statistics_that_are_not_used_set_off_neither_nd104_nor_nd301() -> None:
    rows = tuple(
        LayerMetrics(layer(name=name, batch_statistics=used, **INITIAL), 1, drift(2.0), drift(2.0))
        for name, used in (("unused", True), ("used", False))
    )
    findings = with_findings(Report(ModelInfo("m", "module", "pytorch", None, 1, 1), DATA, rows)).findings
    assert {finding.rule: finding.layer for finding in findings if finding.rule not in ("ND105", "ND303")} == {
        "ND104": "used",
        "ND301": "used",
        "ND201": "unused",
    }


def test_a_live_module_whose_code_uses_its_batch_in_eval_mode() -> None:
    torch = pytest.importorskip("torch")
    import normdiag

    class Own(torch.nn.BatchNorm2d):
        def forward(self, x: object) -> object:
            return torch.nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, True, 0.0, self.eps
            )

    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), Own(3), torch.nn.BatchNorm2d(3, track_running_stats=False))
    data = 5.0 + np.random.default_rng(0).normal(size=(64, 3, 4, 4)).astype(np.float32)
    findings = normdiag.inspect(model, data).findings
    assert {(finding.rule, finding.layer) for finding in findings if finding.rule in ("ND104", "ND301")} == {
        ("ND104", "0"),
        ("ND301", "0"),
    }
    by_layer = {finding.layer: finding for finding in findings if finding.rule == "ND201"}
    assert set(by_layer) == {"1", "2"}
    assert "not with the stored ones" in by_layer["1"].message


def test_trap_weights_that_are_standardized_by_a_batch_norm_of_one_sample() -> None:
    torch = pytest.importorskip("torch")
    import normdiag

    class Standardized(torch.nn.Conv2d):
        def forward(self, x: object) -> object:
            flat = self.weight.reshape(1, self.out_channels, -1)
            weight = torch.nn.functional.batch_norm(flat, None, None, training=True, momentum=0.0)
            return self._conv_forward(x, weight.reshape_as(self.weight), self.bias)

    data = np.random.default_rng(0).normal(size=(8, 3, 6, 6)).astype(np.float32)
    report = normdiag.inspect(torch.nn.Sequential(Standardized(3, 4, 3), torch.nn.BatchNorm2d(4)), data)
    assert not [finding for finding in report.findings if finding.rule == "ND201"]
