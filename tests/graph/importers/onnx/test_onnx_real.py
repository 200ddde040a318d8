"""Published models, with the traps that their README lists."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from normdiag.models.onnx import OnnxProgram
from tests.graph.importers.onnx.site_checks import check_sites, load_program

Find = Callable[[str], Path]
RNG = np.random.default_rng(5)


def kinds(program: OnnxProgram) -> dict[str, int]:
    return dict(Counter(site.layer.kind for site in program.sites))


def activations(program: OnnxProgram) -> dict[str, int]:
    return dict(Counter(site.function.kind for site in program.activations))


def test_ultraface(real: Find) -> None:
    program = load_program(real("ultraface/version-slim-320.onnx"))
    assert kinds(program) == {"batch_norm": 25}
    assert activations(program) == {"relu": 34}
    assert [(i.name, i.shape) for i in program.inputs] == [("input", (1, 3, 240, 320))]
    assert [site.layer.name for site in program.sites[:3]] == ["base_net.0.1", "base_net.1.1", "base_net.1.4"]
    tiny = sum(
        int((site.layer.running_var < 1e-5).sum()) for site in program.sites if site.layer.running_var is not None
    )
    assert tiny == 263
    check_sites(program, {"input": RNG.normal(size=(1, 3, 240, 320)).astype(np.float32)}, 2e-3)


def test_ultraface_folded(real: Find) -> None:
    program = load_program(real("ultraface/version-slim-320_simplified.onnx"))
    assert kinds(program) == {} and activations(program) == {"relu": 34}


def test_gtcrn(real: Find) -> None:
    program = load_program(real("gtcrn/stream_onnx_models_gtcrn_simple.onnx"))
    assert kinds(program) == {"batch_norm": 11, "layer_norm": 4}
    assert activations(program) == {"sigmoid": 6, "tanh": 1}
    layers = [site.layer for site in program.sites]
    assert [layer.name for layer in layers[:5]] == [
        "dpgrnn1.intra_ln",
        "dpgrnn1.inter_ln",
        "dpgrnn2.intra_ln",
        "dpgrnn2.inter_ln",
        "decoder.de_convs.0.point_bn1",
    ]
    for layer in layers[:4]:
        assert layer.gamma is not None and layer.gamma.shape == (33, 16)
        assert (layer.eps, layer.channels, layer.normalized_rank, layer.origin) == (1e-8, 528, 2, "decomposed")
    feeds = {i.name: RNG.normal(size=[d or 1 for d in i.shape or ()]).astype(np.float32) for i in program.inputs}
    check_sites(program, feeds)


def test_magika_flax(real: Find) -> None:
    """LayerNorm from E[x^2] - E[x]^2 with Reciprocal; its Maximum is no ReLU."""
    program = load_program(real("magika/standard_v3_3.onnx"))
    assert kinds(program) == {"layer_norm": 2}
    assert activations(program) == {"gelu_tanh": 2}
    assert [site.layer.name.rsplit("/", 1)[-1] for site in program.sites] == ["LayerNorm_0", "LayerNorm_1"]
    assert {site.layer.eps for site in program.sites} == {1e-6}
    check_sites(program, {"bytes": RNG.integers(0, 256, (3, 2048)).astype(np.int32)}, 1e-3)


def test_magika_with_a_layer_norm_written_as_a_batch_normalization(real: Find) -> None:
    program = load_program(real("magika/dense_v4_top_20230910.onnx"))
    assert kinds(program) == {"layer_norm": 2}
    assert activations(program) == {"gelu": 3}
    assert [site.layer.name for site in program.sites] == [
        "model/layer_normalization",
        "model/layer_normalization_1/FusedBatchNormV3",
    ]
    assert program.notes == ()
    check_sites(program, {"bytes": RNG.integers(0, 256, (2, 1536)).astype(np.float32)}, 1e-3)


def test_basic_pitch_has_no_norm(real: Find) -> None:
    program = load_program(real("basic_pitch/nmp.onnx"))
    assert program.sites == () and program.notes == ()
    assert activations(program) == {"relu": 3, "sigmoid": 3}


FILES = [
    "ultraface/version-slim-320.onnx",
    "gtcrn/stream_onnx_models_gtcrn_simple.onnx",
    "magika/standard_v3_3.onnx",
    "basic_pitch/nmp.onnx",
]


@pytest.mark.parametrize("name", FILES)
def test_truncated_at_every_5_percent(name: str, real: Find, tmp_path: Path) -> None:
    from normdiag.errors import InputError

    content = real(name).read_bytes()
    path = tmp_path / "cut.onnx"
    for percent in range(0, 100, 5):
        path.write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(InputError):
            load_program(path)
