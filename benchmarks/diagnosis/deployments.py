"""Faults of how a model is exported and served: batch statistics, dropout, half precision, saturation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from benchmarks.diagnosis import samples
from benchmarks.diagnosis.case import Case, edited_layers, layers_at, on_model
from benchmarks.diagnosis.image_nets import DropoutFirst
from benchmarks.diagnosis.subjects import NORMS, Subject, prepared, recalibrated, trained
from benchmarks.diagnosis.weights import fed_alone, feeding


def deployment_faults(subject: Subject) -> Iterator[Case]:
    """All of them."""
    layers = frozenset(subject.norms)
    for serve in (2, 4, 8):
        yield on_model(
            subject,
            "normalizes with its batch",
            f"served {serve} at a time",
            ("batch_dependent", "small_batches"),
            "all",
            layers,
            partial(_without_statistics, subject),
            serve=serve,
            repairs=frozenset(("reexport", "retrain")),
        )
    for factor in (1024.0, 65536.0):
        yield edited_layers(
            subject,
            "values too large for float16",
            f"x {factor:g}",
            ("half_precision",),
            "middle",
            layers_at(fed_alone(subject), "middle"),
            partial(_enlarged, subject, factor),
            half=True,
            repairs=frozenset(("reexport",)),
        )
    if subject.name in ("plain", "dropout"):
        yield from _dropouts(subject)


def _without_statistics(subject: Subject) -> nn.Module:
    module = subject.copied()
    for each in module.modules():
        if isinstance(each, NORMS):
            each.running_mean = each.running_var = each.num_batches_tracked = None
            each.track_running_stats = False
    return module


def _enlarged(subject: Subject, factor: float, module: nn.Module, name: str) -> None:
    """The layer before the norm scaled up, and its statistics with it: nothing changes in float32."""
    layer, norm = feeding(module, subject, name), module.get_submodule(name)
    if layer is None or len(layer.weight) != len(norm.weight):
        return
    for each in (*layer.parameters(), norm.running_mean):
        each.mul_(factor)
    norm.running_var.mul_(factor**2)


def _dropouts(subject: Subject) -> Iterator[Case]:
    """Networks of their own, with the statistics that training with the dropout on leaves behind."""
    data = samples.mnist()
    x = prepared(data.stored, subject.recipe)
    for share in (0.3, 0.5, 0.7):
        make = partial(
            trained,
            f"{subject.name}_dropout_first_{share:g}",
            partial(DropoutFirst, share),
            x[500:],
            data.labels[500:],
            300,
            0,
        )

        def reference(make: partial[nn.Module] = make) -> nn.Module:
            return recalibrated(make(), subject.x(subject.training.stored))

        norms = frozenset(name for name, each in make().named_modules() if isinstance(each, NORMS) and name != "1")
        causes = ("dropout_before_norm", "stale_statistics")
        yield on_model(
            subject, "dropout before the norms", f"{share:g}", causes, "all", norms, make, reference=reference
        )


@torch.no_grad()
def in_half(module: nn.Module) -> nn.Module:
    """A copy that stands for a float16 deployment: everything rounded, the inputs of norms held in it."""
    import copy

    module = copy.deepcopy(module)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    for each in module.modules():
        if isinstance(each, NORMS):
            each.register_forward_pre_hook(lambda _, inputs: (inputs[0].half().float(),))
    return module
