"""From a path or a live module to a Model. The backends are imported only when a file needs them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from normdiag.errors import InputError, UsageError
from normdiag.extras import require_torch
from normdiag.models.info import sha256_of
from normdiag.models.sniff import Format, sniff
from normdiag.records import Model, ModelInfo

if TYPE_CHECKING:
    from torch import nn

    from normdiag.models.static import StaticFile

STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
ARCH_HINT = "give the code that builds the model with --arch net.py:Net"


@dataclass(frozen=True)
class LoadOptions:
    """How to read a PyTorch file.

    `key` chooses the tensor dict in a checkpoint; `arch` ("net.py:Net") builds the module that the weights go into,
    with `arch_args` ("name=value"); `trust` lets torch unpickle the file, which runs code from it.
    """

    key: str | None = None
    arch: str | None = None
    arch_args: tuple[str, ...] = ()
    trust: bool = False


def load(path: Path, options: LoadOptions | None = None) -> Model:
    """Read a model file of any known format, told from its bytes.

    Of an ONNX file it lists no layers yet, which have to be found in its graph (graph.open_model).

    Raises InputError for what cannot be read, UsageError for options that do not go with the file.
    """
    options = options or LoadOptions()
    if options.arch and options.trust:
        raise UsageError("--arch and --trust exclude each other: --arch never needs to trust the file")
    if options.arch_args and not options.arch:
        raise UsageError("--arch-arg needs --arch: it holds the arguments of the factory that --arch names")
    fmt = sniff(path)
    if fmt == "onnx":
        refuse_for_onnx(options, path)
    elif options.arch or options.trust:
        require_torch("--arch needs" if options.arch else "--trust needs")
    with ThreadPoolExecutor(1) as pool:  # a hundred megabytes take as long to hash as to parse
        digest = pool.submit(sha256_of, path)
        if fmt == "onnx":
            model = _load_onnx(path)
        elif options.trust:
            model = _load_trusted(path, fmt, options.key)
        else:
            model = _load_static(path, fmt, options)
        return replace(model, info=replace(model.info, sha256=digest.result()))


def from_module(module: nn.Module) -> Model:
    """A live torch.nn.Module as it stands; it is watched, never changed."""
    return _model_of(module, ModelInfo(None, "module", "pytorch", None, None, _module_parameters(module)))


def _module_parameters(module: nn.Module) -> int:
    from normdiag.models.pytorch import require_initialised

    require_initialised(module)
    return sum(each.numel() for each in module.parameters())


def _load_onnx(path: Path) -> Model:
    from normdiag.models.onnx import load_onnx

    program = load_onnx(path)
    info = _file_info(path, "onnx", "onnx", program.parameters, program.notes)
    return Model(info, (), program.inputs, program)


def refuse_for_onnx(options: LoadOptions, path: Path) -> None:
    """Raise UsageError for an option that an ONNX file has no use for."""
    given = [name for name in ("key", "arch", "trust") if getattr(options, name)]
    if given:
        raise UsageError(f"--{given[0]} is for PyTorch files; {path.name} is an ONNX file and runs without it")


def _load_trusted(path: Path, fmt: Format, key: str | None) -> Model:
    from normdiag.models.pytorch import load_trusted

    module = load_trusted(path, fmt, key)
    return _model_of(module, _file_info(path, fmt, "pytorch", _module_parameters(module), ()))


def _load_static(path: Path, fmt: Format, options: LoadOptions) -> Model:
    from normdiag.models.static import norm_layers, read_static

    static = read_static(path, fmt, options.key)
    if not static.tensors:
        raise InputError(f"{path}: holds no tensors, so there is no layer to look at")
    info = _file_info(path, fmt, "weights", count_parameters(static.tensors), static.notes)
    if options.arch is None:
        return Model(info, norm_layers(static), why_not_run=_why_not_run(static, fmt), copies=static.copies)
    from normdiag.models.pytorch import build_arch, load_weights

    module = build_arch(options.arch, options.arch_args)
    load_weights(module, static)
    return replace(_model_of(module, replace(info, backend="pytorch")), copies=static.copies)


def count_parameters(tensors: Mapping[str, Any]) -> int:
    """Number of values in the tensors that are weights, which running statistics are not."""
    return sum(int(tensor.size) for name, tensor in tensors.items() if not name.endswith(STATISTICS))


def _why_not_run(static: StaticFile, fmt: Format) -> str:
    """Why nothing of a PyTorch file was run, and which option runs it."""
    if not static.whole_module:
        return f"the file holds weights without code; to run it, {ARCH_HINT}"
    what = {"torchscript": "a TorchScript program", "torch-export": "a torch.export program"}.get(
        fmt, "a pickled module"
    )
    trust = "if you trust whoever made the file, let torch load it with --trust"
    return f"the file is {what}, and loading that can run any code that its maker put in; {ARCH_HINT} or, {trust}"


def _model_of(module: nn.Module, info: ModelInfo) -> Model:
    from normdiag.models.pytorch import module_layers

    return Model(info, module_layers(module), (), module)


def _file_info(
    path: Path,
    fmt: str,
    backend: Literal["pytorch", "onnx", "weights"],
    parameters: int | None,
    notes: tuple[str, ...],
) -> ModelInfo:
    return ModelInfo(str(path), fmt, backend, None, path.stat().st_size, parameters, notes)
