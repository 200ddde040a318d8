"""An architecture by name, out of the package that defines it; never with weights that would be fetched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from normdiag.models.pytorch.installed import RefusedError, require_package

# torchvision's detectors take lists of images and give lists of boxes, RAFT takes two images.
_TORCHVISION_SKIPPED = ("rcnn", "retinanet", "fcos", "ssd", "raft", "quantized")
_WITH_BACKBONE = ("deeplab", "fcn_", "lraspp")
# Weights of torchvision that came from TensorFlow are meant for inputs that the model itself prepares.
_PREPARING = ("googlenet", "inception_v3")
PREPARED = {"transform_input": True}


def listed_architectures() -> list[str]:
    """The names of all that are looked for, as `package:name`, or `package:name:variant`."""
    require_package("timm")
    require_package("torchvision")
    import timm
    import torchvision

    vision = [
        name for name in torchvision.models.list_models() if not any(each in name for each in _TORCHVISION_SKIPPED)
    ]
    prepared = [f"torchvision:{name}:transform_input" for name in _PREPARING]
    return [*(f"torchvision:{name}" for name in vision), *prepared, *(f"timm:{name}" for name in timm.list_models())]


def arguments_of(architecture: str, classes: int | None, channels: int | None) -> dict[str, Any]:
    """What the factory is called with; nothing for what is None, and so at its default."""
    package, _, name = architecture.partition(":")
    given: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if channels is not None and package == "timm":
        given["in_chans"] = channels
    return given | (PREPARED if name.endswith(":transform_input") else {})


def build_architecture(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The module, with random weights, in eval mode. Raises RefusedError where nothing that is installed has it."""
    package, name = architecture.split(":")[:2]
    require_package(package)
    if package == "timm":
        import timm

        if not timm.is_model(name):
            raise RefusedError(f"the timm that is installed has no {name}")
        made: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    else:
        import torchvision

        if name not in torchvision.models.list_models():
            raise RefusedError(f"the torchvision that is installed has no {name}")
        fixed: dict[str, Any] = {"weights": None}
        if any(name.startswith(each) for each in _WITH_BACKBONE):
            fixed["weights_backbone"] = None
        if name in _PREPARING:
            fixed["init_weights"] = False
        made = torchvision.models.get_model(name, **fixed, **arguments)
    return made.eval()


def build_empty(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The module without weights, or with random ones where its constructor computes with them."""
    try:
        with torch.device("meta"):
            return build_architecture(architecture, arguments)
    except (NotImplementedError, RuntimeError):
        return build_architecture(architecture, arguments)


def image_size(architecture: str) -> tuple[int, ...] | None:
    """The size of the images that an architecture of timm is meant for, channels first; None of any other."""
    package, name = architecture.split(":")[:2]
    if package != "timm":
        return None
    import timm

    config = timm.get_pretrained_cfg(name)
    return None if config is None else tuple(config.input_size)


def published_files(architecture: str) -> frozenset[str]:
    """The names of the files of trained weights that the installed package loads into an architecture built so.

    Where torchvision's factories load some, the model prepares its input if it can.
    """
    package, name, *variant = architecture.split(":")
    require_package(package)
    if package == "timm":
        import timm

        configs = [timm.get_pretrained_cfg(tag) for tag in timm.list_pretrained(f"{name}.*")]
        urls = [config.url for config in configs if config is not None and config.url]
    elif bool(variant) != (name in _PREPARING):
        return frozenset()
    else:
        import torchvision

        try:
            urls = [weights.url for weights in torchvision.models.get_model_weights(name)]
        except ValueError:  # of another version
            return frozenset()
    return frozenset(url.rpartition("/")[2] for url in urls)


def factory_options(architecture: str, arguments: Mapping[str, Any]) -> str:
    """The options of the command line that build the same."""
    package, name = architecture.split(":")[:2]
    given = "".join(f" --arch-arg {key}={value}" for key, value in arguments.items())
    place = "timm.models" if package == "timm" else "torchvision.models"
    segmentation = ".segmentation" if any(name.startswith(each) for each in _WITH_BACKBONE) else ""
    return f"--arch {place}{segmentation}:{name}{given}"
