"""Of architectures with the same tensors, what the file says and its name tell which one is meant, or nothing does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from normdiag.models.pytorch.architectures import told
from normdiag.models.pytorch.architectures.match import Match
from normdiag.models.pytorch.architectures.told import told_architecture
from normdiag.models.static.staticfile import ArchitectureHints

RESNET = (("timm:resnet18", "torchvision:resnet18"), ("timm:resnetblur18",))
EFFICIENT = (("timm:efficientnet_b0",), ("timm:tf_efficientnet_b0",), ("timm:efficientnet_blur_b0",))
PREPARED = (("torchvision:googlenet",), ("torchvision:googlenet:transform_input",))
# Beside the convolution, the modules that each of them has.
PARTS = {"timm:resnet18": ["act1"], "torchvision:resnet18": ["relu"], "timm:resnetblur18": ["act1", "blur"]}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, _arguments: Any) -> torch.nn.Module:
        net = torch.nn.Module()
        for part in ("conv", *PARTS[name]):
            net.add_module(part, torch.nn.Identity())
        return net

    monkeypatch.setattr(told, "build_empty", build)


def tell(functions: Any, path: str = "model.pt", config: Any = None, prefix: str = "", **hints: Any) -> Any:
    match = Match(functions, prefix, 1000, 3, 1)
    return told_architecture(match, ArchitectureHints(**hints), config, Path(path))


@pytest.mark.parametrize(
    ("modules", "left"),
    [
        ({"", "conv", "relu"}, (("torchvision:resnet18",),)),
        ({"", "conv", "act1"}, (("timm:resnet18",),)),
        ({"", "conv", "act1", "blur"}, (("timm:resnetblur18",),)),
        ({"", "conv"}, RESNET),
        ({"", "conv", "act1", "another"}, RESNET),
        (set(), RESNET),
    ],
)
def test_all_modules_that_the_file_lists_must_be_there(modules: set[str], left: Any) -> None:
    found = tell(RESNET, modules=frozenset(modules))
    assert found.functions == left and not found.by_name
    assert found.told_by == (("the modules that the file lists",) if left != RESNET else ())


def test_the_prefix_of_the_tensors_is_that_of_the_modules() -> None:
    listed = frozenset({"", "criterion", "model", "model.conv", "model.act1", "model.blur"})
    assert tell(RESNET, prefix="model.", modules=listed).functions == (("timm:resnetblur18",),)


@pytest.mark.parametrize(
    "name", ["resnetblur18", "timm/resnetblur18.a1_in1k", "hf-hub:timm/resnetblur18", "ResNetBlur18"]
)
def test_a_name_in_the_checkpoint(name: str) -> None:
    found = tell(RESNET, names=("sgd", name))
    assert found.functions == (("timm:resnetblur18",),) and found.told_by == ("a name in the checkpoint",)


def test_names_that_an_earlier_timm_had() -> None:
    assert tell(EFFICIENT, names=("tf_efficientnet_b0_ns",)).functions == (("timm:tf_efficientnet_b0",),)
    assert tell(EFFICIENT, names=("tf_efficientnet_b1", "b0")).functions == EFFICIENT
    assert len(tell(EFFICIENT, names=("efficientnet_b0", "tf_efficientnet_b0")).functions) == 2, (
        "a student, its teacher"
    )


def test_config_json() -> None:
    assert tell(RESNET, config={"architecture": "resnet18"}).functions == (RESNET[0],)
    assert tell(RESNET, config={"architecture": 18}).functions == RESNET


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("tf_efficientnet_b0_aa-827b6e33.pth", "timm:tf_efficientnet_b0"),
        ("efficientnet_b0_ra-3dd342df.pth", "timm:efficientnet_b0"),
        ("/h/my-efficientnet-b0-best.pt", "timm:efficientnet_b0"),
        ("/h/models--timm--tf_efficientnet_b0.ns_jft_in1k/snapshots/1f/model.safetensors", "timm:tf_efficientnet_b0"),
        ("efficientnet_b0_tf.pth", None),
        ("efficientnet_b01.pth", None),
        ("myefficientnet_b0.pth", None),
        ("efficientnet_b0_or_efficientnet_blur_b0.pth", None),
        ("/efficientnet_b0/model.pt", None),
    ],
)
def test_a_file_name_counts_where_it_is_clear(path: str, left: str | None) -> None:
    found = tell(EFFICIENT, path)
    assert found.functions == (((left,),) if left else EFFICIENT) and found.by_name == (left is not None)


def test_a_name_does_not_tell_variants_of_one_factory_apart() -> None:
    assert tell(PREPARED, "my-googlenet.pth").functions == PREPARED


def test_the_name_of_published_weights_is_that_of_the_variant_that_loads_them() -> None:
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    found = tell(PREPARED, "/h/hub/checkpoints/googlenet-1378be20.pth")
    assert found.functions == (PREPARED[1],) and found.by_name


def test_a_published_name_goes_before_names_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"timm:efficientnet_b0": frozenset({"tf_efficientnet_b0.pth"})}
    monkeypatch.setattr(told, "published_files", lambda name: files.get(name, frozenset()))
    assert tell(EFFICIENT, "tf_efficientnet_b0.pth").functions == (EFFICIENT[0],)
    files["timm:tf_efficientnet_b0"] = files["timm:efficientnet_b0"]
    assert tell(EFFICIENT, "tf_efficientnet_b0.pth").functions == EFFICIENT[:2]


def test_evidence_that_contradicts_itself_chooses_nothing() -> None:
    found = tell(RESNET, "resnet18.pth", names=("resnetblur18",))
    assert found.functions == RESNET and not found.told_by
    assert tell(RESNET, "resnetblur18.pth", modules=frozenset({"conv", "relu"})).functions == RESNET


def test_what_cannot_be_built_here_is_not_what_the_file_lists() -> None:
    assert tell((("timm:unknown",), ("timm:resnetblur18",)), modules=frozenset({"conv"})).functions[0] == (
        "timm:unknown",
    )
