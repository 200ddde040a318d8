"""From a path or a live module to a Model. The backends are imported only when a file needs them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from normdiag.errors import InputError, UsageError
from normdiag.extras import require_torch
from normdiag.models.fits_memory import why_streamed
from normdiag.models.info import sha256_of
from normdiag.models.options import LoadOptions
from normdiag.models.sniff import CHECKPOINTS, Format, sniff
from normdiag.records import Model, ModelInfo

if TYPE_CHECKING:
    from torch import nn

    from normdiag.models.pytorch.plain import RefusedError
    from normdiag.models.static import StaticFile

# Formats of models in several files, whose bytes take longer to hash than all that is read of them.
OF_MANY_GIGABYTES = ("hugging-face", "gguf", "torch-distributed")
# Formats of which weights are streamed, or could be if their files were safetensors.
STREAMED = ("hugging-face", "safetensors")
STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
CHOOSE = "give --data that its statistics were gathered on, which may tell, or choose one"
YOUR_ARCH = "--arch net.py:Net"
ARCH_HINT = "give the code that builds the model with --arch net.py:Net"
SCRIPT = "the file is a TorchScript program, and loading that can run any code that its maker put in"
UNQUANTIZED = (
    "and such files are not run here: give the checkpoint that they were made from or, in Python, the loaded module: "
    "normdiag.inspect(model, batches)"
)
GGUF_NOT_RUN = "a GGUF file holds weights for llama.cpp and is not run here: give the checkpoint that it was made from"
NOT_DECODED = "packed weights are not decoded: counted as the values that they stand for, compared byte by byte"
TRUST_HINT = "if you trust whoever made the file, let torch load it with --trust"


def load(path: Path, options: LoadOptions | None = None, *, run: bool = False) -> Model:
    """Read a model file of any known format, detected from content.

    Of an ONNX file it lists no layers yet, which have to be found in its graph (graph.open_model).

    To `run` it, a PyTorch model is built as well, where that needs no code that comes with the file; only then is torch
    imported. Raises InputError for what cannot be read, UsageError for options that do not go with the file.
    """
    options = options or LoadOptions()
    if options.user_arch and options.trust:
        raise UsageError("--arch and --trust exclude each other: --arch never needs to trust the file")
    if options.arch_args and not options.user_arch:
        raise UsageError("--arch-arg needs --arch: it holds the arguments of the factory that --arch names")
    fmt = sniff(path)
    if options.stream == "always" and fmt not in STREAMED:
        raise UsageError(f"--stream is for weights in safetensors files; {path.name} holds none")
    if fmt == "onnx":
        refuse_for_onnx(options, path)
    elif fmt == "gguf":
        _refuse_options(options, path, "a GGUF file, whose norms are read without it")
    elif options.provider is not None:
        raise UsageError(f"--provider is for ONNX models; {path.name} is a PyTorch file: --device says where it runs")
    elif options.user_arch or options.trust:
        require_torch("--arch needs" if options.user_arch else "--trust needs")
    with ThreadPoolExecutor(1) as pool:  # a hundred megabytes take as long to hash as to parse
        digest = pool.submit(sha256_of, path) if fmt not in OF_MANY_GIGABYTES else None
        if fmt == "onnx":
            model = _load_onnx(path, options.provider)
        elif options.trust:
            model = _load_trusted(path, fmt, options.key)
        else:
            model = _load_static(path, fmt, options, run)
        return model if digest is None else replace(model, info=replace(model.info, sha256=digest.result()))


def read_weights(path: Path, options: LoadOptions | None = None) -> StaticFile:
    """The tensors of a PyTorch file, and what it says of its modules; nothing of it is run. Raises as `load` does."""
    return _read(path, sniff(path), None if options is None else options.key)


def from_module(module: nn.Module) -> Model:
    """A live torch.nn.Module as it stands; it is watched, never changed."""
    return _model_of(module, ModelInfo(None, "module", "pytorch", None, None, _module_parameters(module)))


def _module_parameters(module: nn.Module) -> int:
    from normdiag.models.pytorch import require_initialised

    require_initialised(module)
    return sum(each.numel() for each in module.parameters())


def _load_onnx(path: Path, provider: str | None) -> Model:
    from normdiag.models.onnx import load_onnx

    program = replace(load_onnx(path), provider=provider)
    info = _file_info(path, "onnx", "onnx", program.parameters, program.notes)
    return Model(info, (), program.inputs, program)


def refuse_for_onnx(options: LoadOptions, path: Path) -> None:
    """Raise UsageError for an option that an ONNX file has no use for."""
    _refuse_options(options, path, "an ONNX file and runs without it")


def _refuse_options(options: LoadOptions, path: Path, what: str) -> None:
    given = [name for name in ("key", "arch", "trust") if getattr(options, name)]
    if given:
        raise UsageError(f"--{given[0]} is for PyTorch files; {path.name} is {what}")


def _load_trusted(path: Path, fmt: Format, key: str | None) -> Model:
    from normdiag.models.pytorch import load_trusted

    module = load_trusted(path, fmt, key)
    return _model_of(module, _file_info(path, fmt, "pytorch", _module_parameters(module), ()))


def _load_static(path: Path, fmt: Format, options: LoadOptions, run: bool) -> Model:
    static = _read(path, fmt, options.key)
    if not static.tensors:
        raise InputError(f"{path}: holds no tensors, so there is no layer to look at")
    quantized = None if static.quantized is None else static.quantized.how
    info = _file_info(path, fmt, "weights", count_parameters(static), static.notes)
    info = replace(info, suspicious=static.suspicious, quantized=quantized)
    streamed = why_streamed(static, options) if fmt in STREAMED and (run or options.user_arch) else None
    if streamed is not None and (static.config or options.user_arch):
        return _streamed(static, info, options, streamed)
    if options.user_arch:
        from normdiag.models.pytorch import build_arch, load_weights

        module = build_arch(options.user_arch, options.arch_args)
        load_weights(module, static)
        return replace(_model_of(module, replace(info, backend="pytorch")), copies=static.copies)
    if fmt == "gguf":
        return _only_read(static, info, GGUF_NOT_RUN)
    if quantized is not None:
        return _only_read(static, info, f"its weights are quantized ({quantized}), {UNQUANTIZED}")
    if run and fmt != "torchscript":
        return _built(static, info, options)
    run_with = (YOUR_ARCH, "--trust") if fmt == "torchscript" else ()
    return _only_read(static, info, _why_not_run(static, fmt), run_with)


def _read(path: Path, fmt: Format, key: str | None) -> StaticFile:
    from normdiag.models.static import declared_eps, quantization

    static = _read_file(path, fmt, key)
    quantized = static.quantized or quantization(static.tensors, static.config)
    notes = static.notes
    if quantized is not None:
        notes = (*notes, NOT_DECODED if quantized.sizes else "the layout of its packed weights is not known here")
    return replace(static, quantized=quantized, declared=static.declared or declared_eps(static.config), notes=notes)


def _read_file(path: Path, fmt: Format, key: str | None) -> StaticFile:
    from normdiag.models.static import read_checkpoint, read_gguf, read_static

    if fmt == "gguf":
        return read_gguf(path)
    of_hugging_face = path.name in CHECKPOINTS and (path.parent / "config.json").is_file()
    if fmt != "hugging-face" and not (of_hugging_face and key is None):
        return read_static(path, fmt, key)
    if key is not None:
        raise UsageError(f"--key chooses among the models of a checkpoint; {path} holds one")
    return read_checkpoint(path)


def _built(static: StaticFile, info: ModelInfo, options: LoadOptions) -> Model:
    """The model that can run or, where it cannot, what was read of it."""
    try:
        require_torch("to run it needs")
    except UsageError as error:
        return _only_read(static, info, str(error))
    from normdiag.models.pytorch.plain import RefusedError, build_plain
    from normdiag.models.static.inert import MalformedError

    try:
        built = build_plain(static, options, Path(info.path or ""))
    except RefusedError as error:
        return _refused(static, info, error)
    except MalformedError as error:
        raise InputError(f"{info.path}: {error}") from None
    model = _model_of(built.module, replace(info, backend="pytorch", built=built.how))
    return replace(model, copies=static.copies, suggested=built.inputs, fitting=built.fitting, run_with=built.options)


def _streamed(static: StaticFile, info: ModelInfo, options: LoadOptions, why: str) -> Model:
    """The model whose weights stay in their files or, where that cannot be, what was read of it."""
    require_torch("to run it needs")
    from normdiag.models.pytorch.plain import build_streamed

    try:
        built = build_streamed(Path(info.path or ""), static, options)
    except (InputError, UsageError) as error:
        return _only_read(static, info, f"its weights have to be streamed ({why}): {error}")
    note = f"its weights are streamed from the files, {why}; each forward reads all of them once"
    if options.tell is not None:
        options.tell(f"{info.path}: {note}")
    info = replace(info, backend="pytorch", built=built.how or None, notes=(*info.notes, note))
    return Model(info, built.layers or (), (), built.module, suggested=built.inputs, streamed=True)


def _refused(static: StaticFile, info: ModelInfo, error: RefusedError) -> Model:
    """What was read, why it does not run, and the options that would run it."""
    if error.options:
        return _only_read(static, info, f"{error}; {CHOOSE}", error.options, error.fitting)
    if not static.whole_module:
        return _only_read(static, info, f"{error}; {ARCH_HINT}", (YOUR_ARCH,))
    return _only_read(static, info, f"{error}; {ARCH_HINT} or, {TRUST_HINT}", (YOUR_ARCH, "--trust"))


def _only_read(
    static: StaticFile, info: ModelInfo, why: str, run_with: tuple[str, ...] = (), fitting: tuple[str, ...] = ()
) -> Model:
    from normdiag.models.static import norm_layers

    layers = norm_layers(static)
    return Model(info, layers, why_not_run=why, copies=static.copies, run_with=run_with, fitting=fitting)


def count_parameters(static: StaticFile) -> int:
    """Number of weights, those in packed tensors included; running statistics and scales of packed ones are none."""
    sizes = {name: int(tensor.size) for name, tensor in static.tensors.items() if not name.endswith(STATISTICS)}
    return sum((sizes if static.quantized is None else {**sizes, **static.quantized.sizes}).values())


def _why_not_run(static: StaticFile, fmt: Format) -> str:
    """Why nothing of a PyTorch file that was only read was run, and what runs it."""
    if fmt == "torchscript":
        return f"{SCRIPT}; {ARCH_HINT} or, {TRUST_HINT}"
    if static.whole_module:
        return "with --data it is rebuilt and run, without any code of the file"
    known = "those that its config.json names" if static.config else "torchvision and timm"
    return f"the file holds weights without code; with --data an architecture is looked for in {known}"


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
    return ModelInfo(str(path), fmt, backend, None, _size_bytes(path, fmt), parameters, notes)


def _size_bytes(path: Path, fmt: str) -> int:
    if fmt not in OF_MANY_GIGABYTES:
        return path.stat().st_size
    from normdiag.models.static import find_checkpoint, gguf_parts

    if fmt == "torch-distributed":
        return sum(each.stat().st_size for each in path.glob("*.distcp"))
    files = gguf_parts(path) if fmt == "gguf" else find_checkpoint(path).shards
    return sum(file.stat().st_size for file in files)
