"""What users' loops give their models: lists of images, numbers beside arrays, several arrays before the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import normdiag
from normdiag.errors import InputError

X = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Detector(nn.Module):
    """As torchvision's: a list of images of sizes of their own in, a list of dicts out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> list[dict[str, Tensor]]:
        del targets
        batch = torch.stack([F.interpolate(image[None], (8, 8))[0] for image in images])
        found = self.norm(self.conv(batch))
        return [{"boxes": y.flatten()[:i].reshape(-1, 1), "scores": y.mean()[None]} for i, y in enumerate(found)]


class Unannotated(Detector):
    """Its signature says nothing of lists."""

    def forward(self, images, targets=None):  # type: ignore[no-untyped-def]
        return super().forward(images, targets)


@dataclass
class Denoised:
    """Outputs in a record, some of them nested."""

    sample: Tensor
    hidden: tuple[Tensor, dict[str, Tensor]]


class Denoiser(nn.Module):
    """As those of diffusion models: a batch and a step, which is a number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.steps: list[Any] = []

    def forward(self, sample: Tensor, timestep: Any, scale: float = 1.0) -> Denoised:
        self.steps.append((timestep, scale))
        y = self.norm(self.conv(sample) * timestep * scale)
        return Denoised(y, (y, {"last": y}))


class Pair(nn.Module):
    """Two inputs by position."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.norm(left + 2 * right)


def images() -> list[Tensor]:
    return [F.interpolate(x[None], (6 + i, 9))[0] for i, x in enumerate(X)]


@pytest.mark.parametrize("kind", [Detector, Unannotated])
def test_images_of_sizes_of_their_own_with_their_targets(kind: type[Detector]) -> None:
    targets = [{"boxes": torch.zeros(1, 4)} for _ in X]
    net = kind().eval()
    seen: list[Tensor] = []
    net.norm.register_forward_hook(lambda _m, args, _y: seen.append(args[0]))
    for data in ((images(), targets), (tuple(images()), tuple(targets))):
        report = normdiag.inspect(net, [data, data])
        assert report.data is not None and (report.data.samples, report.data.batch_size) == (16, 8)
        assert report.layers[0].drift is not None and report.layers[0].own is not None
    net(images())
    assert torch.allclose(seen[0], seen[-1], atol=1e-5)


def test_a_list_of_images_alone_for_a_model_that_takes_lists() -> None:
    report = normdiag.inspect(Detector(), [images()])
    assert report.data is not None and report.data.samples == 8
    report = normdiag.inspect(Detector(), [[X[0], X[1]]])
    assert report.data is not None and report.data.samples == 2


class OfDicts(Detector):
    """As detectron2's: a list of dicts in, of which each holds its image."""

    def forward(self, batched_inputs: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:  # type: ignore[override]
        return super().forward([each["image"] for each in batched_inputs])


def test_a_list_of_dicts_with_an_image_each() -> None:
    dicts = [{"image": image, "height": 480, "file_name": "x.jpg", "instances": object()} for image in images()]
    report = normdiag.inspect(OfDicts().eval(), [dicts, dicts])
    plain = normdiag.inspect(Detector().eval(), [images(), images()])
    assert report.data is not None and (report.data.samples, report.data.batch_size) == (16, 8)
    assert report.to_json() == plain.to_json().replace("Detector", "OfDicts")
    assert report.layers[0].drift is not None


def test_a_list_of_dicts_without_images_names_what_they_hold() -> None:
    with pytest.raises(InputError, match="the first holds file_name, height"):
        normdiag.inspect(OfDicts(), [[{"file_name": "x.jpg", "height": 480}]])


def test_a_bad_image_is_named() -> None:
    broken = images()
    broken[3][0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="sample 3 holds NaN"):
        normdiag.inspect(Detector(), [broken])


@pytest.mark.parametrize("step", [7, 7.0, np.int64(7), torch.tensor(7), np.array(7.0, np.float32)])
def test_numbers_beside_arrays_reach_the_forward(step: Any) -> None:
    net = Denoiser()
    report = normdiag.inspect(net, [{"sample": X, "timestep": step, "epoch": 3, "name": "x", "label": 1}])
    assert report.data is not None and report.data.samples == 8
    assert {float(timestep) for timestep, _ in net.steps} == {7.0}
    assert report.gap is not None and report.gap.output == "sample"


def test_several_arrays_before_the_labels_where_the_forward_needs_them() -> None:
    labels = torch.zeros(8, dtype=torch.int64)
    reports = [normdiag.inspect(Pair(), data) for data in ([(X, X + 1, labels)], [((X, X + 1), labels)], [[X, X + 1]])]
    drifts = [report.layers[0].drift.rms for report in reports if report.layers[0].drift]
    assert len(drifts) == 3 and drifts[0] == drifts[1] == drifts[2]


def test_too_few_arrays_say_what_is_wanted() -> None:
    with pytest.raises(InputError, match=r"takes 2 inputs \(left, right\).* yield \(\(left, right\), labels\)"):
        normdiag.inspect(Pair(), [(X, "labels")])


def test_autocast_changes_nothing_but_the_rounding() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)).eval()
    plain = normdiag.inspect(net, [X])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = normdiag.inspect(net, [X])
    for one, other in zip(plain.layers, cast.layers, strict=True):
        assert one.drift is not None and other.drift is not None and other.own is not None
        assert other.drift.rms == pytest.approx(one.drift.rms, rel=0.05, abs=0.02)
