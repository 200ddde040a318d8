"""ND206 and ND207: normalization over one element, and SyncBatchNorm in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from normdiag.records import GroupMetrics, LayerMetrics, ModelInfo, NormKind, NormLayer, Report
from tests.rules.graph_reports import bn, found, seen

ONE = {
    "instance norm at 1x1": "g (float[N,4,1,1] x) => (float[N,4,1,1] y) "
    "{ y = InstanceNormalization(x, gamma4, beta4) }",
    "instance norm after a global pool": "g (float[N,4,H,W] x) => (float[N,4,1,1] y) "
    "{ a = GlobalAveragePool(x) y = InstanceNormalization(a, gamma4, beta4) }",
    "a group for each channel": "g (float[N,4,1] x) => (float[N,4,1] y) "
    "{ y = GroupNormalization <num_groups=4> (x, gamma4, beta4) }",
    "layer norm over one feature": "g (float[N,4,1] x) => (float[N,4,1] y) { y = LayerNormalization(x, one1) }",
}
MORE = {
    "instance norm at 1x2": "g (float[N,4,1,2] x) => (float[N,4,1,2] y) "
    "{ y = InstanceNormalization(x, gamma4, beta4) }",
    "a free size": "g (float[N,4,1,W] x) => (float[N,4,1,W] y) { y = InstanceNormalization(x, gamma4, beta4) }",
    "two channels in a group": "g (float[N,4,1] x) => (float[N,4,1] y) "
    "{ y = GroupNormalization <num_groups=2> (x, gamma4, beta4) }",
    "groups at 2 positions": "g (float[N,4,2] x) => (float[N,4,2] y) "
    "{ y = GroupNormalization <num_groups=4> (x, gamma4, beta4) }",
    "a gamma of one element for all": "g (float[N,4,8] x) => (float[N,4,8] y) { y = LayerNormalization(x, one1) }",
    "layer norm over more axes": "g (float[N,4,1] x) => (float[N,4,1] y) { y = LayerNormalization <axis=1> (x, one1) }",
    "batch norm in eval mode": f"g (float[N,4,1,1] x) => (float[N,4,1,1] y) {{ {bn('x', 'y')} }}",
    "over the channels of a 1x1 map": "g (float[N,4,1,1] x) => (float[N,4,1,1] y) "
    "{ m = ReduceMean <axes=[1], keepdims=1> (x)  d = Sub(x, m)  p = Mul(d, d)  "
    "v = ReduceMean <axes=[1], keepdims=1> (p) "
    "e = Add(v, eps)  s = Sqrt(e)  n = Div(d, s)  t = Mul(n, gamma411)  y = Add(t, beta411) }",
}
SCALAR = {"one1": np.ones(1, np.float32)}


@pytest.mark.parametrize("text", ONE.values(), ids=ONE)
def test_nd206_fires_where_the_graph_leaves_one_element(tmp_path: Path, text: str) -> None:
    (finding,) = found("ND206", seen(tmp_path, text, 21, **SCALAR))
    assert (finding.severity, finding.confidence) == ("error", "high")
    assert "its output is its bias" in finding.message


@pytest.mark.parametrize("text", MORE.values(), ids=MORE)
def test_nd206_is_silent_where_there_is_more_or_nobody_knows(tmp_path: Path, text: str) -> None:
    opset = 17 if "ReduceMean" in text else 21
    context = seen(tmp_path, text, opset, **SCALAR)
    assert context.report.layers, "there is a layer to look at"
    assert not found("ND206", context)


def test_nd206_an_rms_norm_keeps_the_sign(tmp_path: Path) -> None:
    report = of(layer("rms_norm", channels=1))
    assert "sign of its input" in found("ND206", report)[0].message


def layer(kind: NormKind = "instance_norm", **changes: object) -> NormLayer:
    return replace(NormLayer("norm", kind, "module", 4, 1e-5), **changes)  # type: ignore[arg-type]


def of(*layers: NormLayer | LayerMetrics, path: str | None = "m.pt") -> Report:
    rows = tuple(each if isinstance(each, LayerMetrics) else LayerMetrics(each) for each in layers)
    return Report(ModelInfo(path, "torch-zip", "weights", None, 1, 1), None, rows)


def test_nd206_modules_by_their_shape() -> None:
    assert found("ND206", of(layer("layer_norm", channels=1)))
    assert not found("ND206", of(layer("layer_norm", channels=2)))
    assert not found("ND206", of(layer("batch_norm", channels=1), layer("instance_norm", channels=1)))
    assert not found("ND206", of(layer("layer_norm", channels=1, origin="operator")))


def test_nd206_with_data() -> None:
    def metrics(single: bool) -> LayerMetrics:
        groups = GroupMetrics(1 if single else 9, 0.0, 0.0, 1.0, np.ones(4), 0, 1.0, False, single)
        return LayerMetrics(layer(), 1, groups=groups)

    assert found("ND206", of(metrics(True)))
    assert not found("ND206", of(metrics(False)))


def test_nd206_a_live_module_on_images_that_shrank_to_one_pixel() -> None:
    torch = pytest.importorskip("torch")
    import normdiag

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(4, 4), torch.nn.Conv2d(4, 2, 1))
    for size, fires in ((3, True), (4, False)):
        data = np.random.default_rng(0).normal(size=(4, 3, size, size)).astype(np.float32)
        findings = normdiag.inspect(model, data).findings
        assert any(finding.rule == "ND206" and finding.layer == "1" for finding in findings) == fires


# ND207


SYNC = layer("batch_norm", class_name="SyncBatchNorm")


def test_nd207_is_information_in_a_file_and_silent_for_a_live_model() -> None:
    (finding,) = found("ND207", of(SYNC, replace(SYNC, name="second")))
    assert (finding.severity, finding.layer, finding.evidence["layers"]) == ("info", "norm", 2)
    assert not found("ND207", of(SYNC, path=None))
    assert not found("ND207", of(replace(SYNC, class_name="BatchNorm2d")))


def test_nd207_reads_the_class_from_a_pickled_and_a_traced_module(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import normdiag

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.SyncBatchNorm(4)).eval()
    torch.save(model, tmp_path / "whole.pt")
    torch.jit.trace(model, torch.zeros(2, 3, 8, 8)).save(tmp_path / "traced.pt")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    fired = {
        path.stem: any(finding.rule == "ND207" for finding in normdiag.inspect(path).findings)
        for path in tmp_path.glob("*.pt")
    }
    assert fired == {"whole": True, "traced": True, "weights": False}
