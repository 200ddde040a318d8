"""Faults beside statistics and inputs: NaN, dead channels, saturation, dropout, training mode, half precision."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from benchmarks.diagnosis_case import Case, export, in_half
from benchmarks.diagnosis_statistics import places, true_accuracy
from benchmarks.diagnosis_subjects import Subject, accuracy
from sample_models import fit, net
from sample_models.export import to_onnx_training


def non_finite(subject: Subject) -> Iterator[Case]:
    """One NaN in one parameter or statistic."""
    place = subject.batch_norms[len(subject.batch_norms) // 2]
    for role in ("weight", "bias", "running_mean", "running_var"):
        module = subject.copied()
        getattr(module.get_submodule(place), role).data[0] = torch.nan
        yield Case(subject, "NaN in one value", role, place, frozenset((place,)), module)


def dead(subject: Subject) -> Iterator[Case]:
    """Channels whose gamma and beta are zero; channels whose convolution is zero, with statistics that say so."""
    for share in (0.1, 0.5, 0.9):
        for place, layers in places(subject):
            if place == "all":
                continue
            module = subject.copied()
            norm = module.get_submodule(place)
            off = _chosen(norm, share)
            norm.weight.data[off] = 0.0
            norm.bias.data[off] = 0.0
            yield Case(subject, "gamma and beta zero", f"{100 * share:g} %", place, frozenset(layers), module)
            module = subject.copied()
            norm, feeding = module.get_submodule(place), _feeding(module, place)
            feeding.weight.data[off] = 0.0
            norm.running_mean[off] = 0.0 if feeding.bias is None else feeding.bias.data[off]
            norm.running_var[off] = 1e-12
            if place != "norm1" or subject.name != "mnist":  # ReLU lies between the two there
                yield Case(subject, "channels without input", f"{100 * share:g} %", place, frozenset(layers), module)


def _chosen(norm: nn.Module, share: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(len(norm.running_mean), generator=generator)[: round(share * len(norm.running_mean))]


def _feeding(module: nn.Module, norm: str) -> nn.Module:
    """The convolution or linear layer that was made last before a norm."""
    before: nn.Module | None = None
    for name, each in module.named_modules():
        if name == norm:
            break
        before = each if isinstance(each, nn.Conv2d | nn.Linear) else before
    assert before is not None
    return before


def saturation(subject: Subject) -> Iterator[Case]:
    """The perceptron's weights, or the gammas in front of its sigmoids, scaled up."""
    for factor in (2.0, 4.0, 8.0, 16.0):
        for place, numbers in (("hidden2", "2"), ("all", "123")):
            module = subject.copied()
            for number in numbers:
                hidden = module.get_submodule(f"hidden{number}")
                (hidden.norm if subject.batch_norms else hidden.linear).weight.data.mul_(factor)
            layers = frozenset(f"hidden{number}.sigmoid" for number in numbers)
            path = partial(export, module, subject.x[:3])
            yield Case(subject, "saturated by scale", f"x {factor:g}", place, layers, module, onnx=path)


class Dropping(net.DigitsCNN):
    """The sample CNN with a dropout in front of its last two norms."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.conv2 = nn.Sequential(self.conv2, nn.Dropout(share))
        self.conv3 = nn.Sequential(self.conv3, nn.Dropout(share))


def dropout(subject: Subject) -> Iterator[Case]:
    """Trained with dropout in front of BatchNorm; the right statistics are those with it off."""
    split = (subject.training.prepared(), subject.training.labels)
    for share in (0.1, 0.3, 0.5, 0.7):
        module = fit.fit(partial(Dropping, share), split, epochs=15, lr=0.01)
        before = true_accuracy(subject, module)
        layers, write = frozenset(("norm2", "norm3")), partial(with_dropout, module)
        yield Case(
            subject, "dropout before BatchNorm", f"{share:g}", "norm2, norm3", layers, module, before=before, onnx=write
        )


def dropping(subject: Subject) -> Iterator[Case]:
    """Trained with dropout behind the norms and exported with it on, the norms in eval mode."""
    split = (subject.training.prepared(), subject.training.labels)
    for share in (0.5, 0.8):
        module = fit.fit(partial(DroppingBehind, share), split, epochs=15, lr=0.01)
        case = Case(
            subject,
            "dropout exported in training mode",
            f"{share:g}",
            "norm2, norm3",
            frozenset(("norm2.1.dropout", "norm3.1.dropout")),
            module,
            before=accuracy(module, subject.x, subject.images.labels),
            measure=partial(_accuracy_dropping, subject),
            onnx=partial(with_dropout, module, active=True),
            run_onnx=True,
        )
        yield case


class DroppingBehind(net.DigitsCNN):
    """The sample CNN with a dropout behind its last two norms."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.norm2 = nn.Sequential(self.norm2, nn.Dropout(share))
        self.norm3 = nn.Sequential(self.norm3, nn.Dropout(share))


def _accuracy_dropping(subject: Subject, module: nn.Module) -> float:
    torch.manual_seed(0)
    module = copy.deepcopy(module)
    for each in module.modules():
        each.training = isinstance(each, nn.Dropout)
    return accuracy(module, subject.x, subject.images.labels)


def with_dropout(module: nn.Module, path: Path, *, active: bool = False) -> None:
    """Exported with its Dropout nodes, the norms in eval mode and, unless `active`, the dropouts too."""

    to_onnx_training(copy.deepcopy(module), path)
    proto = onnx.load(path)
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            for attribute in node.attribute:
                if attribute.name == "training_mode":
                    attribute.i = 0
        if node.op_type == "Dropout" and not active:
            del node.input[2:]
    onnx.save(proto, path)


def _by_the_older_exporter(module: nn.Module, x: Tensor, path: Path) -> None:
    """It knows batch statistics at a fixed batch size alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(copy.deepcopy(module), (x,), path, dynamo=False, do_constant_folding=False)


def training_mode(subject: Subject) -> Iterator[Case]:
    """Exported without eval(); trained without running statistics. Served one image at a time."""
    layers = frozenset(subject.batch_norms)
    one_by_one = partial(_one_by_one, subject)
    module = subject.copied()
    write = partial(to_onnx_training, copy.deepcopy(module))
    yield Case(
        subject,
        "exported in training mode",
        "training_mode=1",
        "all",
        layers,
        _without_statistics(module),
        measure=one_by_one,
        serve_batch=1,
        onnx=write,
        run_onnx=True,
    )
    bare = _without_statistics(subject.copied())
    for exporter, path in (("", export), ("older exporter", _by_the_older_exporter)):
        yield Case(
            subject,
            "track_running_stats=False",
            exporter,
            "all",
            layers,
            bare,
            measure=one_by_one,
            serve_batch=1,
            onnx=partial(path, bare, subject.x[:3]),
        )


def _without_statistics(module: nn.Module) -> nn.Module:
    for each in module.modules():
        if isinstance(each, nn.modules.batchnorm._BatchNorm):
            each.running_mean = each.running_var = each.num_batches_tracked = None
            each.track_running_stats = False
    return module


def _one_by_one(subject: Subject, module: nn.Module) -> float:
    return accuracy(module, subject.x, subject.images.labels, batch=1)


def half(subject: Subject) -> Iterator[Case]:
    """What float32 does not mind and float16 does: a variance over 65504, and a lost variance with a lost eps."""
    for factor in (64.0, 1024.0, 16384.0):
        for place, layers in places(subject):
            if place != "all" and not (place == "norm1" and subject.name == "mnist"):
                module = subject.copied()
                norm, feeding = module.get_submodule(place), _feeding(module, place)
                for each in (*feeding.parameters(), norm.running_mean):
                    each.data.mul_(factor)
                norm.running_var.mul_(factor**2)
                yield _half_case(subject, "float16: large activations", f"x {factor:g}", place, layers, module)
    for eps in (1e-7, 1e-8):
        module = subject.copied()
        place = subject.batch_norms[0]
        norm = module.get_submodule(place)
        norm.eps = eps
        off = _chosen(norm, 0.1)
        _feeding(module, place).weight.data[off] = 0.0
        if (bias := _feeding(module, place).bias) is not None:
            bias.data[off] = 0.0
        norm.running_mean[off], norm.running_var[off] = 0.0, 1e-12
        path = partial(export, module, subject.x[:3])
        case = _half_case(subject, "float16: lost eps", f"{eps:g}", place, (place,), module)
        yield Case(**{**vars(case), "onnx": path})


def half_tokens(subject: Subject) -> Iterator[Case]:
    """The residual stream of a transformer scaled up, which its norms take out again."""
    for factor in (10.0, 100.0, 1000.0):
        module = subject.copied()
        for name, parameter in module.named_parameters():
            if name.startswith(("patches", "position")) or ".proj." in name or ".fc2." in name:
                parameter.data.mul_(factor)
        path = partial(export, module, subject.x[:3])
        case = _half_case(subject, "float16: large tokens", f"x {factor:g}", "all", subject.norms, module)
        yield Case(**{**vars(case), "onnx": path})


def _half_case(
    subject: Subject, fault: str, strength: str, place: str, layers: tuple[str, ...], module: nn.Module
) -> Case:
    """The accuracy without the fault is that of the same model in float32."""
    before = accuracy(module, subject.x, subject.images.labels)
    measure = partial(_accuracy_in_half, subject)
    return Case(
        subject, fault, strength, place, frozenset(layers), module, before=before, measure=measure, target="fp16"
    )


def _accuracy_in_half(subject: Subject, module: nn.Module) -> float:
    return accuracy(in_half(module), subject.x, subject.images.labels)
