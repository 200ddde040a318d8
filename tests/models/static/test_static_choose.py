"""Which tensors of a checkpoint are taken, what is said of it, and what --key does."""

import argparse
import collections
import datetime
import pathlib

import numpy as np
import pytest
import torch
from torch import nn

from normdiag.errors import InputError
from normdiag.models.static import norm_layers
from tests.models.static.zoo import EveryKind, FunctionalNorm, read


def save(tmp_path, value, **options):
    path = tmp_path / "file.pt"
    torch.save(value, path, **options)
    return path


def weights(value=1.0):
    return {"conv.weight": torch.full((2, 2), value), "bn.weight": torch.full((2,), value)}


def test_a_plain_state_dict_needs_no_note(tmp_path):
    static = read(save(tmp_path, nn.BatchNorm2d(3).state_dict()))
    assert list(static.tensors) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert static.notes == ()
    assert not static.whole_module
    assert static.modules == {}


@pytest.mark.parametrize("name", ["state_dict", "model", "model_state_dict", "ema", "net", "whatever"])
def test_the_dict_of_tensors_is_found_under_any_name(tmp_path, name):
    static = read(save(tmp_path, {"epoch": 3, "best": np.float64(0.9), name: weights()}))
    assert list(static.tensors) == ["conv.weight", "bn.weight"]
    assert static.notes == (f"took the tensors under '{name}'",)


def test_the_preferred_one_is_taken_and_the_others_are_named(tmp_path):
    checkpoint = {"ema": weights(2.0), "other": weights(3.0), "model": weights(1.0), "step": 1}
    path = save(tmp_path, checkpoint)
    static = read(path)
    assert static.tensors["bn.weight"][0] == 1
    assert "took the tensors under 'model'" in static.notes[0]
    assert "'ema', 'other'" in static.notes[0]
    assert "--key" in static.notes[0]
    assert read(path, "ema").tensors["bn.weight"][0] == 2
    assert "--key" in read(path, "ema").notes[0]


def test_key_reaches_down_and_says_what_there_is(tmp_path):
    path = save(tmp_path, {"nets": {"generator": weights(4.0), "critic": weights(5.0)}, "step": 1})
    assert read(path, "nets.critic").tensors["bn.weight"][0] == 5
    with pytest.raises(InputError) as caught:
        read(path, "nets.generatr")
    assert "'nets.generator', 'nets.critic'" in str(caught.value)
    assert "did you mean 'nets.generator'?" in str(caught.value)


def test_optimizer_state_is_never_the_model(tmp_path):
    net = EveryKind()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    path = save(tmp_path, {"optimizer": optimizer.state_dict(), "optim": optimizer, "x": net.state_dict()})
    assert list(read(path).tensors) == list(net.state_dict())
    with pytest.raises(InputError, match="no dict of tensors"):
        read(save(tmp_path, {"optimizer": optimizer.state_dict()}))


def test_a_lightning_checkpoint_with_all_kinds_of_baggage(tmp_path):
    net = EveryKind()
    path = save(
        tmp_path,
        {
            "epoch": 1,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": collections.OrderedDict((f"model.{key}", value) for key, value in net.state_dict().items()),
            "hyper_parameters": argparse.Namespace(
                lr=0.1, path=pathlib.PurePosixPath("/data"), layer=FunctionalNorm(3)
            ),
            "callbacks": {"ModelCheckpoint": {"best": torch.tensor(0.5), "dirpath": "/x"}},
            "when": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
            "loops": collections.defaultdict(list, fit=[np.float32(1), {1, 2}, frozenset([3]), range(3)]),
        },
    )
    static = read(path)
    assert [name for name in static.tensors if not name.startswith("model.")] == []
    assert not static.whole_module


@pytest.mark.parametrize(
    ("prefix", "notes"),
    [
        ("module.", ("stripped 'module.' from the names",)),
        ("_orig_mod.", ("stripped '_orig_mod.' from the names",)),
        ("module._orig_mod.", ("stripped 'module.' from the names", "stripped '_orig_mod.' from the names")),
        ("module.module.", ("stripped 'module.' from the names",)),
        ("model.", ()),
    ],
)
def test_prefixes_of_wrappers_are_stripped(tmp_path, prefix, notes):
    static = read(save(tmp_path, {prefix + key: value for key, value in weights().items()}))
    kept = "model." if prefix == "model." else ""
    assert list(static.tensors) == [kept + key for key in weights()]
    assert static.notes == notes


def test_a_compiled_part_is_stripped_inside_and_an_averaged_model_in_front(tmp_path):
    static = read(save(tmp_path, {"model._orig_mod.bn.weight": torch.ones(2), "model.fc.weight": torch.ones(2, 2)}))
    assert list(static.tensors) == ["model.bn.weight", "model.fc.weight"]
    averaged = torch.optim.swa_utils.AveragedModel(nn.Sequential(nn.BatchNorm1d(2)))
    static = read(save(tmp_path, averaged.state_dict()))
    assert [name for name in static.tensors if name.startswith("module.")] == []
    assert [layer.name for layer in norm_layers(static)] == ["0"]


def test_no_name_is_stripped_where_two_would_become_one(tmp_path):
    state = {"module.a.w": torch.ones(1), "module.b.w": torch.ones(1), "a.w": torch.ones(1)}
    assert list(read(save(tmp_path, state)).tensors) == list(state)
    state = {"x": torch.ones(1), "module.x": torch.ones(1)}
    assert list(read(save(tmp_path, state)).tensors) == list(state)


def test_a_module_under_a_key_is_found(tmp_path):
    static = read(save(tmp_path, {"epoch": 1, "model": nn.Sequential(nn.BatchNorm1d(4)), "ema": None}))
    assert static.whole_module
    assert [layer.name for layer in norm_layers(static)] == ["0"]
    assert static.notes == ("took the tensors under 'model'",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(3), "single tensor"),
        ({"lr": 0.1, "epoch": 2}, "at its top are 'lr', 'epoch'"),
        ([1, 2], "only list"),
        (None, "only NoneType"),
        (argparse.Namespace(a=1), "argparse.Namespace"),
    ],
)
def test_a_file_without_a_model_is_an_error_that_says_what_it_holds(tmp_path, value, words):
    with pytest.raises(InputError, match=words):
        read(save(tmp_path, value))


def test_names_that_no_terminal_can_print_are_escaped(tmp_path):
    static = read(save(tmp_path, {"a\x1b[31m\ud800.weight": torch.ones(2), "b\n.weight": torch.ones(2)}))
    assert all(name.isprintable() and name.encode() for name in static.tensors)
    assert len(static.tensors) == 2
