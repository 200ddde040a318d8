"""Pickled modules are rebuilt from what was read, bit by bit, and nothing that a file names is run."""

from __future__ import annotations

import functools
import os
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace

import normdiag
from normdiag.errors import InputError
from normdiag.models import LoadOptions, load
from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.pytorch.rebuild_module import rebuild_module
from normdiag.models.static import read_static
from normdiag.models.static.inert import Global, Record

RAN = "NORMDIAG_TEST_RAN"


def saved(module: nn.Module, folder: Path) -> Path:
    torch.save(module, folder / "model.pt")
    return folder / "model.pt"


def rebuilt(module: nn.Module, folder: Path, *allowed: str) -> nn.Module:
    static = read_static(saved(module, folder), "torch-zip")
    assert static.pickled is not None
    return rebuild_module(static.pickled, allowed)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 8, 3, padding=1), norm=nn.BatchNorm2d(8), act=nn.ReLU()))


def marked(*_args: Any, **_kwargs: Any) -> None:
    """What an attacker would have run."""
    os.environ[RAN] = "1"


@pytest.fixture(autouse=True)
def nothing_ran(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv(RAN, raising=False)
    yield
    assert RAN not in os.environ


CASES = {
    "conv": (net(), torch.randn(2, 3, 8, 8)),
    "lstm": (nn.LSTM(4, 5, num_layers=2, batch_first=True), torch.randn(2, 7, 4)),
    "transformer": (nn.TransformerEncoderLayer(8, 2, 16, activation="gelu"), torch.randn(3, 2, 8)),
    "attention": (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2), torch.randn(3, 2, 8)),
    "upsample": (nn.Sequential(nn.Upsample(scale_factor=2), nn.Softmax(1)), torch.randn(1, 2, 4, 4)),
    "half": (nn.Linear(4, 4).bfloat16(), torch.randn(2, 4).bfloat16()),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_rebuilt_computes_the_same_to_the_last_bit(name: str, tmp_path: Path) -> None:
    module, x = CASES[name]
    module.eval()
    again = rebuilt(module, tmp_path)
    assert type(again) is type(module)
    assert str(again) == str(module)
    with torch.no_grad():
        one, two = module(x), again(x)
    first, second = (each[0] if isinstance(each, tuple) else each for each in (one, two))
    assert torch.equal(first, second)
    state = again.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert [each.training for each in again.modules()] == [each.training for each in module.modules()]


def test_what_is_shared_stays_shared(tmp_path: Path) -> None:
    block = nn.Linear(4, 4)
    tied = nn.Linear(4, 4, bias=False)
    tied.weight = block.weight
    again = rebuilt(nn.Sequential(block, nn.ReLU(), block, tied), tmp_path)
    assert again[0] is again[2]
    assert again[3].weight is again[0].weight


def test_sets_sizes_and_wrappers_come_back(tmp_path: Path) -> None:
    module = net()
    module.conv.register_buffer("mask", torch.ones(2), persistent=False)
    module.conv.note = {"size": torch.Size([1, 2]), 3: (1, [2.5, None]), "dtype": torch.float16, "of": {"a", "b"}}
    again = rebuilt(nn.DataParallel(module), tmp_path)
    assert again.conv.note == module.conv.note
    assert type(again.conv.note["size"]) is torch.Size
    assert again.conv._non_persistent_buffers_set == {"mask"}
    assert list(again.state_dict()) == list(module.state_dict())


def test_no_constructor_and_no_setstate_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(net(), tmp_path)
    for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Sequential, nn.ReLU):
        monkeypatch.setattr(kind, "__init__", marked)
        monkeypatch.setattr(kind, "__setstate__", marked)
    static = read_static(path, "torch-zip")
    assert static.pickled is not None
    assert isinstance(rebuild_module(static.pickled), nn.Sequential)


class Evil:
    """Pickled as a call."""

    def __reduce__(self) -> Any:
        return marked, ()


class Own(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def hooked() -> nn.Module:
    module = net()
    module.conv.register_forward_hook(marked)
    return module


def pre_hooked() -> nn.Module:
    module = net()
    module.register_forward_pre_hook(functools.partial(marked, 1))
    return module


def with_attribute(name: str, value: Any) -> nn.Module:
    module = net()
    vars(module.conv)[name] = value
    return module


ATTACKS = {
    "a hook": (hooked(), r"conv\._forward_hooks holds a hook, .*marked"),
    "a partial as a hook": (pre_hooked(), r"_forward_pre_hooks holds a hook, functools.partial.*marked"),
    "forward": (with_attribute("forward", torch.relu), r"conv\.forward is set in the file, in place of the code"),
    "a method": (with_attribute("_conv_forward", marked), r"conv\._conv_forward is set in the file"),
    "a call": (with_attribute("act", Evil()), r"conv\.act is .*marked"),
    "a function": (with_attribute("act", os.system), r"conv\.act is posix\.system"),
    "a builtin": (with_attribute("act", eval), r"conv\.act is .*eval"),
    "a partial": (with_attribute("act", functools.partial(os.system, "true")), r"conv\.act is posix\.system"),
    "deep inside": (with_attribute("table", {"a": [(1, os.system)]}), r"conv\.table is posix\.system"),
    "a dunder": (with_attribute("__class__", "Own"), r"conv\.__class__ has no name that an attribute can have"),
    "another class": (nn.Sequential(nn.Linear(3, 3), Own()), r"model\.1: .*\.Own is not a class of torch\.nn"),
    "a graph module": (symbolic_trace(net()), r"torch\.fx|reduce_graph_module"),
    "a lazy module": (nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(3)), r"carries code of the file|builds itself"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_by_name(name: str, tmp_path: Path) -> None:
    module, message = ATTACKS[name]
    path = saved(module, tmp_path)
    with pytest.raises(InputError, match=message):
        normdiag.fold(path, output=tmp_path / "folded.onnx")
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_attribute_is_named(tmp_path: Path) -> None:
    module = net()
    del vars(module.conv)["padding_mode"]
    with pytest.raises(RefusedError, match=r"lacks the attribute 'padding_mode' of the model\.conv \(Conv2d\)"):
        rebuilt(module, tmp_path)


@pytest.mark.parametrize(
    "named",
    [
        Global("torch.nn.modules.linear", "torch"),
        Global("torch.nn.modules.linear", "Linear.forward"),
        Global("torch.nn.modules.module", "Module.__subclasses__"),
        Global("torch.nn.modules.container", "Linear"),
        Global("torch.nn.modules.nowhere", "Linear"),
        Global("torch.nn.modules.linear.", "Linear"),
        Global("torch.fx.graph_module", "GraphModule"),
        Global("torch.nn.parallel.distributed", "DistributedDataParallel"),
        Global("os", "system"),
        Global("", ""),
        Global("timm.models", "resnet18"),
    ],
)
def test_only_classes_where_they_are_defined_are_taken(named: Global) -> None:
    state = {"_parameters": {}, "_modules": {}, "_buffers": {}, "training": False}
    with pytest.raises(RefusedError):
        rebuild_module(Record(named, (), state))


def test_a_package_beside_the_model_does_not_shadow_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "timm"
    (package / "models").mkdir(parents=True)
    code = f"import os; os.environ[{RAN!r}] = '1'\nimport torch\nclass Net(torch.nn.Module): pass\n"
    for place in (package, package / "models"):
        (place / "__init__.py").write_text(code)
    (package / "models" / "net.py").write_text(code)
    for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    state = {"_parameters": {}, "_modules": {}, "_buffers": {}, "training": False}
    with pytest.raises(RefusedError, match="where packages are not installed"):
        rebuild_module(Record(Global("timm.models.net", "Net"), (), state))


def test_classes_that_are_only_kept_may_be_kept_but_not_called(tmp_path: Path) -> None:
    again = rebuilt(with_attribute("layer", functools.partial(nn.LayerNorm, eps=1e-6)), tmp_path)
    with pytest.raises(RefusedError, match=r"the model calls partial\(LayerNorm\)"):
        again.conv.layer(3)


def test_a_model_in_itself_is_an_error_of_one_line(tmp_path: Path) -> None:
    deep = nn.Sequential()
    for _ in range(150):
        deep = nn.Sequential(deep)
    deep.append(nn.BatchNorm1d(3))
    with pytest.raises(InputError):
        normdiag.fold(saved(deep, tmp_path), output=tmp_path / "f.onnx")


def test_modules_that_the_user_allows_are_rebuilt(samples: Path) -> None:
    path = samples / "digits_cnn_module.pt"
    assert load(path, run=True).program is None
    model = load(path, LoadOptions(allow_modules=("sample_models.net",)), run=True)
    trusted = load(path, LoadOptions(trust=True))
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(model.program.eval()(x), trusted.program.eval()(x))


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_16"])
def test_torchvision(name: str, tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    module = torchvision.models.get_model(name, weights=None).eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(rebuilt(module, tmp_path)(x), module(x))
