"""A module out of a file alone, where that needs no code of the file's and none of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from normdiag.models.pytorch.installed import RefusedError
from normdiag.models.static.staticfile import StaticFile
from normdiag.records import InputSpec

if TYPE_CHECKING:
    from normdiag.models.options import LoadOptions

# The value of --arch for no architecture at all.
NO_ARCH = "none"
__all__ = ["Built", "RefusedError", "build_plain"]


@dataclass(frozen=True, eq=False)
class Built:
    """A module that was built, how, for the reader, and what is known of its inputs beside its code."""

    module: nn.Module
    how: str
    inputs: tuple[InputSpec, ...] = ()


def build_plain(static: StaticFile, options: LoadOptions) -> Built:
    """Rebuild a pickled module or torch.export program, or find the architecture that a file's weights belong to.

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
    if static.config is not None:
        from normdiag.models.pytorch.hugging_face import build_from_config

        module, inputs = build_from_config(static.config, static.tensors)
        return Built(
            module, f"built as {type(module).__name__} from config.json, offline, with eager attention", inputs
        )
    from normdiag.models.pytorch.architectures import matched_module

    module, how = matched_module(static.tensors, options.known_arch)
    return Built(module, f"built as {how}")
