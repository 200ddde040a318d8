"""Several known architectures have the same tensors: the data says which of them the statistics belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import normdiag
from normdiag.errors import InputError
from normdiag.models import LoadOptions

torch = pytest.importorskip("torch")

from normdiag.models.pytorch import architectures  # noqa: E402
from normdiag.models.pytorch.architectures import match, told  # noqa: E402
from normdiag.models.pytorch.architectures.fingerprint import names_hash, shapes_hash  # noqa: E402


def build(name: str, _arguments: Any = None) -> Any:
    """'plain' and 'blur' have the same tensors; 'lax' differs from 'plain' in eps alone, 'plain_8' takes one size."""
    nn = torch.nn
    size = int(name.rpartition("_")[2]) if "_" in name else None
    between = nn.AvgPool2d(3, 1, 1) if "blur" in name else nn.Identity()
    eps = 1.01e-5 if "lax" in name else 1e-5
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), between, nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, eps=eps)
    )
    net.register_forward_pre_hook(lambda _, given: check_size(given[0], size))
    return net.eval()


def check_size(x: Any, size: int | None) -> None:
    assert size in (None, x.shape[-1]), f"images must be of {size} x {size}"


def images(seed: int) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(256, 3, 12, 12)).astype(np.float32))


def weights(name: str, path: Path) -> Path:
    torch.manual_seed(0)
    net = build(name).train()
    for norm in (net[1], net[5]):
        norm.momentum = None
    with torch.no_grad():
        net(images(0))
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put these architectures into the index in place of those of torchvision and timm."""

    def use(*functions: str | tuple[str, ...]) -> None:
        names = [[each] if isinstance(each, str) else list(each) for each in functions]
        shapes = {key: tuple(value.shape) for key, value in build("plain").state_dict().items()}
        variant = {"classes": [], "channels": [], "shapes": {shapes_hash(shapes, [], []): names}}
        monkeypatch.setattr(match, "_index", lambda: {"names": {names_hash(shapes): [variant]}})
        monkeypatch.setattr(architectures, "build_architecture", build)
        monkeypatch.setattr(told, "build_empty", build)
        monkeypatch.setattr(architectures, "image_size", lambda _: None)

    return use


@pytest.mark.parametrize("name", ["plain", "blur"])
def test_the_one_that_the_data_fits_is_built(name: str, known: Any, tmp_path: Path) -> None:
    known("timm:plain", "timm:blur")
    report = normdiag.inspect(weights(name, tmp_path / "net.pt"), images(1))
    assert report.model.built is not None and report.model.built.startswith(f"built as timm {name}, matched")
    assert report.verdict == "ok"
    assert report.reading == ("--arch", f"timm.models:{name}"), "commands in the report build the same"
    assert len([each for each in report.layers if each.drift is not None]) == 2


@pytest.mark.parametrize("name", ["plain", "blur"])
def test_fold_and_recalibrate_build_the_one_that_the_data_fits(name: str, known: Any, tmp_path: Path) -> None:
    known("timm:plain", "timm:blur")
    path = weights(name, tmp_path / "net.pt")
    folded = normdiag.fold(path, images(1))
    assert folded.report.model.built is not None and folded.report.model.built.startswith(
        f"built as timm {name}, matched"
    )
    assert folded.report.verification is not None and folded.report.verification.passed
    moved = normdiag.recalibrate(path, images(1), output=tmp_path / "new.pt")
    assert moved.report.model.built is not None and moved.report.model.built.startswith(
        f"built as timm {name}, matched"
    )
    assert moved.report.outcome != "worse" and (tmp_path / "new.pt").exists()


def test_without_data_fold_asks(known: Any, tmp_path: Path) -> None:
    known("timm:plain", "timm:blur")
    path = weights("plain", tmp_path / "net.pt")
    for data in ((), ("random",)):
        with pytest.raises(InputError, match="choose one"):
            normdiag.fold(path, data=data)


def test_what_the_data_does_not_tell_apart_is_asked(known: Any, tmp_path: Path) -> None:
    known("timm:plain", "timm:lax")
    report = normdiag.inspect(weights("plain", tmp_path / "net.pt"), images(1))
    assert (
        report.why_not_run is not None
        and "fit 2 architectures (timm plain, timm lax); give --data" in report.why_not_run
    )


def test_data_that_fits_neither_chooses_nothing(known: Any, tmp_path: Path) -> None:
    known("timm:plain", "timm:blur")
    report = normdiag.inspect(weights("plain", tmp_path / "net.pt"), images(1) * 4.0)
    assert report.why_not_run is not None and "choose one" in report.why_not_run


def test_batches_that_can_be_read_once_are_not_used_up(known: Any, tmp_path: Path) -> None:
    known("timm:plain", "timm:blur")
    report = normdiag.inspect(weights("plain", tmp_path / "net.pt"), iter([images(1)]))
    assert report.why_not_run is not None and "choose one" in report.why_not_run


def test_a_name_that_does_not_fit_is_refused(known: Any, tmp_path: Path) -> None:
    known("timm:plain", "timm:blur")
    path = weights("plain", tmp_path / "net.pt")
    assert normdiag.models.load(path, LoadOptions(known_arch="timm:resnet18"), run=True).program is None


def test_the_name_of_the_file_chooses_and_the_report_says_so(known: Any, tmp_path: Path) -> None:
    known("timm:plain", "timm:blur")
    report = normdiag.inspect(weights("blur", tmp_path / "blur.pt"), data=("random",))
    said = "timm blur, matched by the names and shapes of 14 tensors and chosen by the file's name alone"
    assert report.model.built is not None and said in report.model.built and "timm plain" in report.model.built


def test_data_overrules_the_name(known: Any, tmp_path: Path) -> None:
    known("timm:plain", "timm:blur")
    report = normdiag.inspect(weights("plain", tmp_path / "blur.pt"), images(1))
    assert report.model.built is not None and report.model.built.startswith("built as timm plain, matched")


def test_of_two_sizes_the_one_that_takes_the_data_is_built(known: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Weights that are the same function at two sizes of image, each of which refuses the other."""
    known(("timm:plain_8", "timm:plain_12"))
    monkeypatch.setattr(
        architectures,
        "image_size",
        lambda name: (
            (
                3,
                int(name[-2:].strip("_")),
            )
            * 2
        ),
    )
    path = weights("plain", tmp_path / "net.pt")
    report = normdiag.inspect(path, images(1))
    assert report.model.built is not None and report.model.built.startswith("built as timm plain_12")
    assert report.verdict == "ok" and "timm.models:plain_12" in report.reading[1]
    small = normdiag.inspect(path, images(1)[..., 2:10, 2:10])
    assert small.model.built is not None and small.model.built.startswith("built as timm plain_8")
    assert "with images of another size these weights are timm plain_12" in small.model.built


def test_without_statistics_data_overrules_no_name_and_nothing_else_is_built(
    known: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    known("timm:plain", "timm:blur")
    path = tmp_path / "blur.pt"
    kept = {key: each for key, each in build("plain").state_dict().items() if not key.startswith(("1.", "5."))}
    shapes = {key: tuple(each.shape) for key, each in kept.items()}
    variant = {"classes": [], "channels": [], "shapes": {shapes_hash(shapes, [], []): [["timm:plain"], ["timm:blur"]]}}
    monkeypatch.setattr(match, "_index", lambda: {"names": {names_hash(shapes): [variant]}})
    seen: list[str] = []

    def without_norms(name: str, _arguments: Any = None) -> Any:
        seen.append(name)
        net = build(name)
        net[1], net[5] = torch.nn.Identity(), torch.nn.Identity()
        return net

    monkeypatch.setattr(architectures, "build_architecture", without_norms)
    torch.save(kept, path)
    report = normdiag.inspect(path, images(1))
    assert report.model.built is not None and "chosen by the file's name alone" in report.model.built
    assert seen == ["timm:blur"]
