"""How to read a model file, and where an ONNX model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

Stream = Literal["auto", "always", "never"]
NO_ARCH = "none"


@dataclass(frozen=True)
class LoadOptions:
    """How to read a model file, and where an ONNX model runs.

    `key` chooses the tensor dict in a checkpoint; `arch` ("net.py:Net") builds the module that the weights go into,
    with `arch_args` ("name=value"), and "none" keeps weights from being matched with known architectures; `trust` lets
    torch unpickle the file, which runs code from it. `allow_modules` are modules beside torch.nn, torchvision and timm
    whose classes a pickled module may be rebuilt from. `known_arch` is the one of several known architectures that
    weights without code go into (`Model.fitting`). `provider` is the execution provider of onnxruntime, as cuda;
    None is the CPU. `stream` says whether weights in safetensors files are read block by block while the model runs,
    "auto": where they do not fit into the memory that is free; None is what the command does. `tell` gets a line for
    people.
    """

    key: str | None = None
    arch: str | None = None
    arch_args: tuple[str, ...] = ()
    trust: bool = False
    allow_modules: tuple[str, ...] = ()
    known_arch: str | None = None
    provider: str | None = None
    stream: Stream | None = None
    tell: Callable[[str], None] | None = field(default=None, compare=False, repr=False)

    @property
    def user_arch(self) -> str | None:
        """The user's own code that builds the module."""
        return None if self.arch == NO_ARCH else self.arch

    @property
    def words(self) -> tuple[str, ...]:
        """The options as they are typed, for commands that read the same file in the same way."""
        arguments = [word for each in self.arch_args for word in ("--arch-arg", each)]
        key = [] if self.key is None else ["--key", self.key]
        arch = [] if self.arch is None else ["--arch", self.arch]
        provider = [] if self.provider is None else ["--provider", self.provider]
        return (*key, *arch, *arguments, *(["--trust"] if self.trust else []), *provider)


def streaming_where_needed(options: LoadOptions | None) -> LoadOptions:
    """The options of a command that only looks at a model: weights that do not fit into memory are streamed."""
    options = options or LoadOptions()
    return options if options.stream is not None else replace(options, stream="auto")
