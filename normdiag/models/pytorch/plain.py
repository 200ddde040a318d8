"""A module out of a file alone, where that needs no code of the file's and none of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from normdiag.models.freed_memory import return_memory
from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.static.checkpoint_folder import tensor_places
from normdiag.models.static.staticfile import StaticFile
from normdiag.records import InputSpec, NormLayer

if TYPE_CHECKING:
    from normdiag.models.options import LoadOptions

# The value of --arch for no architecture at all.
NO_ARCH = "none"
__all__ = ["Built", "RefusedError", "build_plain", "build_streamed"]


@dataclass(frozen=True, eq=False)
class Built:
    """A module that was built, how, for the reader, and what is known of its inputs beside its code.

    `layers` are the normalization layers of one whose weights are streamed, since it does not hold their parameters.
    `fitting` and `options` are those of a `KnownModel`.
    """

    module: nn.Module
    how: str
    inputs: tuple[InputSpec, ...] = ()
    layers: tuple[NormLayer, ...] | None = None
    fitting: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def build_plain(static: StaticFile, options: LoadOptions, path: Path) -> Built:
    """Rebuild a pickled module or torch.export program, or find the architecture that the weights at `path` belong to.

    Raises RefusedError, which says what stands in the way, and InputError for a file that contradicts itself.
    """
    if static.pickled is not None:
        from normdiag.models.pytorch.rebuild_module import rebuild_module

        how = "rebuilt from installed classes (no code of the file ran)"
        return Built(rebuild_module(static.pickled, options.allow_modules), how)
    if static.exported is not None:
        from normdiag.models.pytorch.exported_program import rebuild_program

        program, inputs = rebuild_program(static.exported, static.tensors)
        return Built(program, "rebuilt from its graph (no code of the file ran)", inputs)
    if options.arch == NO_ARCH:
        raise RefusedError("the file holds weights without code, and --arch none keeps them from being matched")
    if static.config is not None and not _of_timm(static.config):
        from normdiag.models.pytorch.hugging_face import build_from_config

        module, inputs = build_from_config(static.config, static.tensors)
        return Built(module, _from_config(module), inputs)
    from normdiag.models.pytorch.architectures import matched_module

    known = matched_module(static, path, options.known_arch)
    return Built(known.module, f"built as {known.how}", fitting=known.fitting, options=known.options)


def _of_timm(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one that timm writes beside weights: it names an architecture, and no class."""
    return isinstance(config.get("architecture"), str) and "model_type" not in config


def build_streamed(path: Path, static: StaticFile, options: LoadOptions) -> Built:
    """A module whose weights stay in the files at `path`: as config.json or the user's code describes it.

    Raises as `build_plain` does, and RefusedError where weights cannot be streamed.
    """
    from normdiag.models.pytorch.streamed import WeightFiles, require_accelerate, stream

    require_accelerate()
    places = tensor_places(path)
    return_memory()
    if options.user_arch:
        from normdiag.models.pytorch.arch import build_empty_arch

        module = build_empty_arch(options.user_arch, options.arch_args, static)
        own = {name: name for name in module.state_dict() if name in static.tensors}
        return Built(module, "", layers=stream(module, WeightFiles(own, static.tensors, places)))
    if static.config is None:
        raise RefusedError("weights are streamed into what a config.json or your own code describes")
    from normdiag.models.pytorch.hugging_face import empty_from_config

    empty = empty_from_config(static.config, static.tensors)
    if empty.merged is not None:
        first = next(iter(empty.merged.groups))
        raise RefusedError(f"{first} is stored in parts, which are put together in memory")
    layers = stream(empty.module, WeightFiles(empty.stored, static.tensors, places))
    return Built(empty.module, _from_config(empty.module), empty.inputs, layers)


def _from_config(module: nn.Module) -> str:
    return f"built as {type(module).__name__} from config.json, offline, with eager attention"
