"""What healthy networks show on data unlike that of training: the limits of ND301 and ND302 lie above it.

`python -m benchmarks.diagnosis_healthy` prints, for sample models and ResNet20 on changed images, and for nets trained
here on MNIST with and without augmentation on plain ones: accuracy, the own drift of the first layer, that of the
later layer that drifts most with its lower end and its ratio to the largest of all others, and the answers that batch
statistics change, put down to drift. `alone` and `gap` are what these rules hold against their limits. About twenty
minutes on one core; seeded.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

import normdiag
from benchmarks.diagnosis_subjects import Images, accuracy, digits_subject, mnist_subject, resnet20_subject
from normdiag.records import Report
from tests.nets.mobilenet_v2 import MobileNetV2
from tests.nets.regnet import RegNetY
from tests.nets.resnet18 import ResNet18

Change = Callable[[Tensor], Tensor]


def changes(images: Images) -> Iterator[tuple[str, Tensor]]:
    """Images (N, C, H, W) as other cameras and crops would give them, prepared as in training."""
    raw, size = images.pixels, images.pixels.shape[2:]
    generator = torch.Generator().manual_seed(0)
    yield "as they are", images.prepared()
    for factor in (0.5, 0.7, 0.85, 1.3):
        yield f"{factor} times as bright", images.prepared((raw * factor).clamp(0, 255))
    for factor in (0.5, 0.7, 1.5):
        yield f"{factor} times the contrast", images.prepared(((raw - 128) * factor + 128).clamp(0, 255))
    for noise in (8, 20, 40):
        noisy = (raw + noise * torch.randn(raw.shape, generator=generator)).clamp(0, 255)
        yield f"noise of {noise}", images.prepared(noisy)
    padded = functional.pad(raw, (1, 1, 1, 1), mode="replicate")
    yield "blurred", images.prepared(functional.avg_pool2d(padded, 3, 1))
    cut = size[0] // 8
    yield "enlarged", images.prepared(functional.interpolate(raw[:, :, cut:-cut, cut:-cut], size=size, mode="bilinear"))
    yield "coarse", images.prepared((raw / 32).round() * 32)
    yield "mirrored", images.prepared(raw.flip(3))
    for label in range(3):
        yield f"class {label} alone", images.prepared()[images.labels == label]


def seen(module: nn.Module, x: Tensor) -> str:
    """The columns after the accuracy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = normdiag.inspect(module, x.numpy(), data_options=normdiag.DataOptions(batch_size=50))
    said = ", ".join(dict.fromkeys(f"{each.rule} {each.severity}" for each in report.findings))
    return " | ".join([*drifts(report), gap(report), said or "none"])


def drifts(report: Report) -> tuple[str, str, str, str]:
    owns = [each.own for each in report.layers if each.own is not None]
    first, later = owns[0], max(owns[1:], key=lambda own: own.lower)
    others = max(own.corrected for own in owns if own is not later)
    return f"{first.corrected:.2f}", f"{later.corrected:.2f}", f"{later.lower:.2f}", f"{later.lower / others:.2f}"


def gap(report: Report) -> str:
    if report.gap is None or report.gap.explained_drift is None:
        return "-"
    return f"{100 * (report.gap.top1_disagreement or 0.0) * math.sqrt(report.gap.explained_drift):.1f}"


class Plain(nn.Sequential):
    """Five convolutions, with a dropout in front of the norm behind the linear layer."""

    def __init__(self, dropout: float = 0.0) -> None:
        parts: list[nn.Module] = []
        for before, width, pool in ((1, 16, 1), (16, 16, 2), (16, 32, 1), (32, 32, 2), (32, 64, 1)):
            parts += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(pool)]
        parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
        super().__init__(*parts, nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))


class Coloured(nn.Module):
    """A net for three channels, fed one."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x.expand(-1, 3, -1, -1))
        return logits


def turned(x: Tensor) -> Tensor:
    """Turned by up to 30 degrees and scaled by up to a quarter."""
    angle, scale = torch.rand(len(x)) - 0.5, 0.75 + 0.5 * torch.rand(len(x))
    cos, sin, zero = angle.cos() * scale, angle.sin() * scale, torch.zeros(len(x))
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False, padding_mode="border")


def jittered(x: Tensor) -> Tensor:
    """Turned, brighter or darker, with more or less contrast, and noise."""
    many = (len(x), 1, 1, 1)
    return turned(x) * (0.6 + 0.8 * torch.rand(many)) + 0.8 * torch.rand(many) - 0.4 + 0.3 * torch.randn(x.shape)


def erased(x: Tensor) -> Tensor:
    """A square of ten pixels blank."""
    x = x.clone()
    for image in x:
        row, column = torch.randint(0, 19, (2,)).tolist()
        image[:, row : row + 10, column : column + 10] = 0.0
    return x


def trained(make: Callable[[], nn.Module], augment: Change, x: Tensor, y: Tensor, steps: int = 300) -> nn.Module:
    torch.manual_seed(0)
    module = make().train()
    optimizer = torch.optim.SGD(module.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(0, len(x), (64,))
        optimizer.zero_grad()
        functional.cross_entropy(module(augment(x[chosen])), y[chosen]).backward()
        optimizer.step()
        schedule.step()
    return module.eval()


NETS: dict[str, Callable[[], nn.Module]] = {
    "plain": Plain,
    "plain, dropout 0.5": lambda: Plain(0.5),
    "ResNet18": lambda: Coloured(ResNet18(8)),
    "MobileNetV2": lambda: Coloured(MobileNetV2()),
    "RegNetY": lambda: Coloured(RegNetY()),
}
AUGMENTATIONS: dict[str, Change] = {"nothing": lambda x: x, "turned": turned, "jittered": jittered, "erased": erased}


def rows() -> Iterator[str]:
    samples = (("digits_cnn", "DigitsCNN"), ("digits_mlp_batch_5000", "DigitsMLP"))
    subjects = [*(digits_subject(*names, "batch") for names in samples), resnet20_subject(400)]
    for subject in filter(None, subjects):
        for what, x in changes(subject.images):
            labels = subject.images.labels
            right = accuracy(subject.module, x, labels) if len(x) == len(labels) else math.nan
            yield f"| {subject.name} | {what} | {right:.1f} | {seen(subject.module, x)} |"
    mnist = mnist_subject(6000)
    for name, make in NETS.items() if mnist is not None else ():
        for how, augment in AUGMENTATIONS.items():
            module = trained(make, augment, mnist.images.prepared(), mnist.images.labels)
            x = mnist.training.prepared()
            right = accuracy(module, x, mnist.training.labels)
            yield f"| {name} | trained on: {how} | {right:.1f} | {seen(module, x)} |"


def main() -> None:
    torch.set_num_threads(1)
    print("| model | images | right, % | first | later | its lower end | over all others | gap, % | findings |")
    print("|---" * 9 + "|")
    for line in rows():
        print(line, flush=True)


if __name__ == "__main__":
    main()
