"""Weights are matched with the architectures of torchvision and timm, exactly or not at all."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import normdiag
from normdiag.errors import InputError
from normdiag.models import LoadOptions, load
from normdiag.models.pytorch.architectures import match
from normdiag.models.pytorch.architectures.build import build_architecture
from normdiag.models.pytorch.architectures.fingerprint import names_hash, shapes_hash
from normdiag.models.pytorch.architectures.match import Match, match_weights
from normdiag.models.pytorch.installed import RefusedError

# torchvision's AlexNet, the smallest of all in names.
ALEXNET: dict[str, tuple[int, ...]] = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
    "classifier.1.weight": (4096, 9216),
    "classifier.1.bias": (4096,),
    "classifier.4.weight": (4096, 4096),
    "classifier.4.bias": (4096,),
    "classifier.6.weight": (1000, 4096),
    "classifier.6.bias": (1000,),
}
HEAD = ("classifier.6.weight", "classifier.6.bias")


def with_classes(count: int) -> dict[str, tuple[int, ...]]:
    return {name: (count, *shape[1:]) if name in HEAD else shape for name, shape in ALEXNET.items()}


def test_the_index_knows_it_with_any_number_of_classes() -> None:
    for count in (1000, 10):
        found = match_weights(with_classes(count))
        assert found is not None
        assert (found.functions, found.classes, found.tensors) == ((("torchvision:alexnet",),), count, 16)


@pytest.mark.parametrize("prefix", ["module.", "model.", "net.", "_orig_mod.", "module._orig_mod."])
def test_one_of_the_usual_prefixes_may_stand_before_all_names(prefix: str) -> None:
    found = match_weights({prefix + name: shape for name, shape in ALEXNET.items()})
    assert found is not None and found.prefix == prefix


@pytest.mark.parametrize(
    "changed",
    [
        {**ALEXNET, "features.0.weight": (64, 3, 7, 7)},
        {**ALEXNET, "extra": (1,)},
        {name: shape for name, shape in ALEXNET.items() if name != "features.0.bias"},
        {**ALEXNET, "classifier.6.weight": (10, 4096)},
        {("model." if name != "features.0.bias" else "") + name: shape for name, shape in ALEXNET.items()},
        {"encoder." + name: shape for name, shape in ALEXNET.items()},
        {},
    ],
)
def test_nothing_else_fits(changed: dict[str, tuple[int, ...]]) -> None:
    assert match_weights(changed) is None


def test_counters_of_batches_tell_nothing() -> None:
    names = ["a.weight", "a.running_mean"]
    assert names_hash([*names, "a.num_batches_tracked"]) == names_hash(reversed(names))
    assert shapes_hash({"a.weight": (2, 3)}, [("a.weight", 0)], []) == shapes_hash(
        {"a.weight": (9, 3)}, [("a.weight", 0)], []
    )
    assert shapes_hash({"a.weight": (2, 3)}, [], []) != shapes_hash({"a.weight": (9, 3)}, [], [])


def saved(tensors: dict[str, Any], folder: Path) -> Path:
    torch.save(tensors, folder / "weights.pt")
    return folder / "weights.pt"


def small(folder: Path) -> Path:
    return saved({"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2), "bn.running_mean": torch.ones(3)}, folder)


def test_several_functions_are_listed_as_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Match((("timm:resnet18",), ("timm:other", "torchvision:other")), "", 7, None, 3)
    monkeypatch.setattr("normdiag.models.pytorch.architectures.match_weights", lambda _: both)
    path = small(tmp_path)
    with pytest.raises(InputError, match="its 3 tensors fit 2 architectures") as caught:
        normdiag.fold(path, output=tmp_path / "f.onnx")
    start = f"normdiag fold {path} -o {tmp_path / 'f.onnx'} --arch"
    assert f"{start} timm.models:resnet18 --arch-arg num_classes=7 | {start} timm.models:other" in str(caught.value)
    report = normdiag.inspect(path, np.ones((4, 3), np.float32))
    assert report.data is None and report.why_not_run is not None
    assert "--arch timm.models:resnet18 --arch-arg num_classes=7" in report.why_not_run


def test_unknown_weights_get_the_whole_command(tmp_path: Path) -> None:
    path = small(tmp_path)
    with pytest.raises(InputError, match="no architecture in torchvision or timm") as caught:
        normdiag.fold(path, output=tmp_path / "f.onnx")
    assert f"normdiag fold {path} -o {tmp_path / 'f.onnx'} --arch net.py:Net" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_arch_none_switches_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "_index", lambda: pytest.fail("the index was read"))
    model = load(small(tmp_path), LoadOptions(arch="none"), run=True)
    assert model.program is None and "--arch none" in str(model.why_not_run)


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_what_would_have_to_be_installed_is_said(tmp_path: Path) -> None:
    path = saved({name: torch.zeros(1).expand(shape) for name, shape in ALEXNET.items()}, tmp_path)
    assert "torchvision alexnet, and the package torchvision is not installed" in str(load(path, run=True).why_not_run)


@pytest.mark.parametrize("classes", [1000, 7])
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_torchvision(classes: int, prefix: str, tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    torch.manual_seed(0)
    module = torchvision.models.mobilenet_v2(num_classes=classes).eval()
    model = load(saved({prefix + key: each for key, each in module.state_dict().items()}, tmp_path), run=True)
    assert "torchvision mobilenet_v2, matched by the names and shapes of 314 tensors" in str(model.info.built)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model.program(x), module(x), atol=1e-5)


def test_timm_with_other_channels(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    module = timm.create_model("mobilenetv3_small_050", in_chans=1, num_classes=3).eval()
    model = load(saved(module.state_dict(), tmp_path), run=True)
    x = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.program(x), module(x))


def test_same_keys_and_another_function(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    path = saved(timm.create_model("tf_efficientnet_b0").state_dict(), tmp_path)
    why = str(load(path, run=True).why_not_run)
    assert "--arch timm.models:tf_efficientnet_b0" in str(load(path, run=True).run_with)
    assert "efficientnet_b0" in why and "choose one" in why


@pytest.mark.parametrize("name", ["resnet18", "resnetblur18"])
def test_the_modules_of_a_state_dict_tell_twins_apart(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    module = timm.create_model(name, num_classes=4).eval()
    model = load(saved(torch.nn.DataParallel(module).state_dict(), tmp_path), run=True)
    assert f"timm {name}, matched" in str(model.info.built)
    assert "chosen by the modules that the file lists" in str(model.info.built)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.program(x), module(x))


def test_a_folder_that_timm_wrote(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    from safetensors.torch import save_model

    save_model(timm.create_model("tf_mobilenetv3_small_075"), str(tmp_path / "model.safetensors"))
    (tmp_path / "config.json").write_text('{"architecture": "tf_mobilenetv3_small_075", "num_classes": 1000}')
    for path in (tmp_path, tmp_path / "model.safetensors"):
        built = str(load(path, run=True).info.built)
        assert "timm tf_mobilenetv3_small_075, matched" in built and "chosen by its config.json" in built


def test_one_function_at_two_sizes_of_image(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    model = load(saved(timm.create_model("coat_lite_medium_384").state_dict(), tmp_path), run=True)
    assert model.program is not None and set(model.fitting) == {"timm:coat_lite_medium", "timm:coat_lite_medium_384"}
    assert "with images of another size these weights are" in str(model.info.built)


@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_a_name_that_another_version_had_is_refused(package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    with pytest.raises(RefusedError, match=f"the {package} that is installed has no resnet18000"):
        build_architecture(f"{package}:resnet18000", {})
