"""Whole modules, TorchScript and torch.export: the same layers as the module that was saved, without its code."""

import subprocess
import sys
import textwrap
import warnings
import zipfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from normdiag.errors import InputError
from normdiag.models.static import norm_layers
from tests.models.static.zoo import EveryKind, read, trained_net

# name: kind, eps, momentum, groups, normalized rank, class
EXPECTED = {
    "features.1": ("batch_norm", 1e-3, 0.05, None, None, "BatchNorm2d"),
    "features.3": ("group_norm", 1e-4, None, 2, None, "GroupNorm"),
    "features.4": ("instance_norm", 2e-5, 0.1, None, None, "InstanceNorm2d"),
    "features.5": ("instance_norm", 4e-5, 0.1, None, None, "InstanceNorm2d"),
    "ln": ("layer_norm", 1e-6, None, None, 2, "LayerNorm"),
    "rms": ("rms_norm", 1e-7, None, None, 1, "RMSNorm"),
    "functional": ("rms_norm", 3e-5, None, None, 1, "FunctionalNorm"),
    "bn": ("batch_norm", 1e-5, 0.1, None, None, "BatchNorm1d"),
}


def facts(layer):
    return layer.kind, layer.eps, layer.momentum, layer.groups, layer.normalized_rank, layer.class_name


def assert_tensors(layer, module):
    """The layer's arrays are the module's, bit for bit."""
    pairs = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"}
    for ours, theirs in pairs.items():
        tensor = getattr(module, theirs, None)
        array = getattr(layer, ours)
        if ours == "gamma" and tensor is None:
            tensor = getattr(module, "scale", None)
        assert (array is None) == (tensor is None), (layer.name, ours)
        if array is not None:
            np.testing.assert_array_equal(array, tensor.detach().numpy())
    tracked = getattr(module, "num_batches_tracked", None)
    assert layer.num_batches_tracked == (None if tracked is None else int(tracked))


@pytest.fixture(scope="module")
def net():
    return trained_net()


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    x = torch.randn(2, 3, 8, 8)
    torch.save(net, folder / "pickle")
    torch.save(net, folder / "legacy", _use_new_zipfile_serialization=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(net).save(str(folder / "script"))
        torch.jit.trace(net, x).save(str(folder / "trace"))
        program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
        torch.export.save(program, folder / "export.pt2")
        torch.export.save(program.run_decompositions(), folder / "decomposed.pt2")
    return folder


@pytest.mark.exports
@pytest.mark.parametrize("name", ["pickle", "legacy", "script", "trace", "export.pt2", "decomposed.pt2"])
def test_every_layer_with_its_facts_and_tensors(files, net, name):
    static = read(files / name)
    layers = {layer.name: layer for layer in norm_layers(static)}
    expected = dict(EXPECTED)
    if name in ("pickle", "legacy", "decomposed.pt2"):
        del expected["functional"]  # only a call tells it, which a pickle does not hold and a decomposition takes apart
    assert list(layers) == list(expected)
    assert {name: facts(layer) for name, layer in layers.items()} == expected
    for path, layer in layers.items():
        assert_tensors(layer, net.get_submodule(path))
        assert layer.notes == ()
    assert static.whole_module


@pytest.mark.exports
@pytest.mark.parametrize("name", ["pickle", "legacy", "script", "trace", "export.pt2", "decomposed.pt2"])
def test_the_tensors_are_those_of_the_state_dict(files, net, name):
    found, expected = read(files / name).tensors, net.state_dict()
    assert set(found) == set(expected)
    for key, tensor in expected.items():
        np.testing.assert_array_equal(found[key], tensor.numpy())


@pytest.mark.exports
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("how", ["pickle", "script", "trace", "export"])
def test_the_training_flag_of_batch_norm(tmp_path, training, how):
    path = tmp_path / "file.pt2"
    net = nn.Sequential(nn.BatchNorm1d(4)).train(training)
    x = torch.randn(3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "pickle":
            torch.save(net, path)
        elif how == "export":
            torch.export.save(torch.export.export(net, (x,)), path)
        else:
            (torch.jit.script(net) if how == "script" else torch.jit.trace(net, x)).save(str(path))
    (layer,) = norm_layers(read(path))
    assert layer.training is training


def test_a_frozen_module_keeps_its_norms_as_constants(tmp_path):
    net = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4, eps=1e-3), nn.Tanh(), nn.LayerNorm(4, eps=1e-2)).eval()
    net[1].running_mean += torch.rand(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.script(net)).save(str(tmp_path / "frozen.pt"))
    batch, layer = norm_layers(read(tmp_path / "frozen.pt"))
    assert (batch.kind, batch.eps, batch.training) == ("batch_norm", 1e-3, False)
    np.testing.assert_array_equal(batch.running_mean, net[1].running_mean)
    assert (layer.kind, layer.eps) == ("layer_norm", 1e-2)
    np.testing.assert_array_equal(layer.beta, net[3].bias.detach())


def test_a_class_that_is_missing_is_read_all_the_same(tmp_path):
    """The module's code exists only in the process that saved it."""
    path = tmp_path / "file.pt"
    (tmp_path / "vanished_code.py").write_text(
        textwrap.dedent("""
        import torch
        from torch import nn
        class BatchNormAct2d(nn.BatchNorm2d): pass
        class ChannelLayerNorm(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(4)); self.bias = nn.Parameter(torch.ones(4))
                self.epsilon = 1e-4
        class Mystery(nn.Module):
            def __init__(self):
                super().__init__()
                self.bn = BatchNormAct2d(4, eps=0.25)
                self.ln = ChannelLayerNorm()
                self.register_buffer("scratch", torch.ones(3), persistent=False)
        """)
    )
    code = "import torch, vanished_code, sys; torch.save(vanished_code.Mystery().eval(), sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, path], check=True, cwd=tmp_path)
    static = read(path)
    batch, layer = norm_layers(static)
    assert (batch.name, batch.kind, batch.eps, batch.class_name) == ("bn", "batch_norm", 0.25, "BatchNormAct2d")
    assert (layer.name, layer.kind, layer.eps) == ("ln", "layer_norm", 1e-4)
    assert "scratch" not in static.tensors
    assert static.modules[""].class_name == "vanished_code.Mystery"


def test_data_parallel_is_taken_off(tmp_path):
    path = tmp_path / "file.pt"
    torch.save(nn.DataParallel(nn.Sequential(nn.BatchNorm1d(4, eps=1e-3))), path)
    static = read(path)
    assert static.notes == ("stripped 'module.' from the names",)
    assert static.modules[""].class_name.endswith("Sequential")
    assert [(layer.name, layer.eps) for layer in norm_layers(static)] == [("0", 1e-3)]


def test_norms_without_parameters_are_listed_too(tmp_path):
    path = tmp_path / "file.pt"
    bare = nn.Sequential(
        nn.LayerNorm(4, elementwise_affine=False),
        nn.BatchNorm1d(4, affine=False, track_running_stats=False, momentum=None),
        nn.InstanceNorm1d(4),
    )
    torch.save(bare, path)
    layers = norm_layers(read(path))
    assert [(layer.kind, layer.channels) for layer in layers] == [
        ("layer_norm", 4),
        ("batch_norm", 4),
        ("instance_norm", 4),
    ]
    assert not any(layer.has_statistics for layer in layers)
    assert layers[1].momentum is None


def test_a_norm_that_is_the_whole_model_has_a_name(tmp_path):
    path = tmp_path / "file.pt"
    torch.save(nn.BatchNorm1d(4), path)
    assert [layer.name for layer in norm_layers(read(path))] == ["BatchNorm1d"]
    torch.save(nn.BatchNorm1d(4).state_dict(), path)
    assert [layer.name for layer in norm_layers(read(path))] == ["batch_norm"]


def test_a_submodule_in_two_places_is_listed_in_both(tmp_path):
    path = tmp_path / "file.pt"
    shared = nn.BatchNorm1d(4)
    torch.save(nn.ModuleDict({"a": shared, "b": shared}), path)
    static = read(path)
    assert [layer.name for layer in norm_layers(static)] == ["a", "b"]
    assert static.tensors["a.weight"].shape == static.tensors["b.weight"].shape


class TwoCalls(nn.Module):
    """Two normalizations in one forward, of parameters with names of their own."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.rand(4))
        self.second = nn.Parameter(torch.rand(4))

    def forward(self, x):
        return F.layer_norm(F.layer_norm(x, [4], self.first, eps=1e-3), [4], self.second, self.first, eps=1e-2)


@pytest.mark.parametrize("how", ["script", "trace", "export"])
def test_several_calls_in_one_module_are_several_layers(tmp_path, how):
    path = tmp_path / "file.pt2"
    net = TwoCalls()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "export":
            torch.export.save(torch.export.export(net, (torch.randn(2, 4),)), path)
        else:
            (torch.jit.script(net) if how == "script" else torch.jit.trace(net, torch.randn(2, 4))).save(str(path))
    one, two = norm_layers(read(path))
    assert (one.kind, one.eps, one.beta, two.eps) == ("layer_norm", 1e-3, None, 1e-2)
    np.testing.assert_array_equal(one.gamma, net.first.detach())
    np.testing.assert_array_equal(two.gamma, net.second.detach())
    np.testing.assert_array_equal(two.beta, net.first.detach())


@pytest.mark.exports
def test_key_means_nothing_for_a_program(files):
    with pytest.raises(InputError, match="holds one"):
        read(files / "export.pt2", "model")


def test_what_aotinductor_compiled_is_refused_with_advice(tmp_path):
    path = tmp_path / "file.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/archive_format", "pt2")
        archive.writestr("net/data/aotinductor/model/code.so", b"\x7fELF")
    with pytest.raises(InputError, match=r"AOTInductor.*give the checkpoint"):
        read(path)


def test_bfloat16_and_shared_weights_in_torch_export(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4, dtype=torch.bfloat16)
            self.b = nn.Linear(4, 4, dtype=torch.bfloat16)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    path = tmp_path / "file.pt2"
    net = Tied()
    torch.export.save(torch.export.export(net, (torch.randn(2, 4, dtype=torch.bfloat16),)), path)
    static = read(path)
    for name in ("a.weight", "a.bias", "b.bias"):
        array = static.tensors[name]
        assert str(array.dtype) == "bfloat16"
        np.testing.assert_array_equal(array.astype(np.float32), net.get_parameter(name).detach().float().numpy())


@pytest.mark.exports
def test_the_archives_of_older_torch_export(files, net, tmp_path):
    """Before torch 2.8: no top folder, the program in one JSON file and the weights in a torch.save file."""
    with zipfile.ZipFile(files / "export.pt2") as archive:
        program = next(archive.read(name) for name in archive.namelist() if name.endswith("models/model.json"))
    torch.save(net.state_dict(), tmp_path / "weights")
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("version", "8.0")
        archive.writestr("serialized_exported_program.json", program)
        archive.writestr("serialized_state_dict.pt", (tmp_path / "weights").read_bytes())
    layers = {layer.name: layer for layer in norm_layers(read(tmp_path / "old.pt2"))}
    assert {name: facts(layer) for name, layer in layers.items()} == EXPECTED
    for path, layer in layers.items():
        assert_tensors(layer, net.get_submodule(path))


def test_the_zoo_runs():
    assert EveryKind()(torch.randn(2, 3, 8, 8)).shape == (2, 10)
