"""A Hugging Face checkpoint's model, built offline from its config.json, with attention as written out in its code.

The config names a class of the installed transformers; code beside the checkpoint (`auto_map`), kernels and attention
implementations that it names are never fetched, and transformers loads no weights itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from normdiag.models.pytorch.arrays import to_tensor
from normdiag.models.pytorch.installed import RefusedError, require_package
from normdiag.models.pytorch.merged_weights import MergedWeights, merged_weights
from normdiag.models.static.inert import shown
from normdiag.models.static.staticfile import Array
from normdiag.records import InputSpec
from normdiag.wording import abridged

T = TypeVar("T")
PACKAGE = "transformers"
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# What in a config makes transformers fetch code, kernels or weights, or choose another attention.
_DROPPED = ("auto_map", "attn_implementation", "kernel", "use_pretrained_backbone", "custom_pipelines", "dtype")
# Buffers that earlier versions saved and that the code computes.
_COMPUTED = ("position_ids", "inv_freq", "masked_bias", "token_type_ids", ".attn.bias", "num_batches_tracked")
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_TOKENS, _SAMPLES, _IMAGE = 16, 16_000, 224
_MAX_DEPTH = 20


def build_from_config(
    config: Mapping[str, Any], tensors: Mapping[str, Array]
) -> tuple[nn.Module, tuple[InputSpec, ...]]:
    """The module that config.json names, with the weights in it, in eval mode, and what it can be run on.

    Raises RefusedError for a class that transformers does not have, a quantized model, and weights that do not fit.
    """
    with _offline():
        require_package(PACKAGE)
        kind, made = _class_and_config(config, len(tensors))
        with torch.device("meta"):
            merged = _fitting(_instance(kind, made), tensors)
        module = _instance(kind, made)
    _load(module, merged.kept if merged else tensors, merged.values() if merged else ())
    return module.eval(), _inputs(kind, config)


@dataclass(frozen=True, eq=False)
class EmptyModel:
    """A module as config.json describes it, in eval mode, without its weights: these lie on the meta device.

    Buffers that its code computes, and no checkpoint stores, have their values. `stored` has the checkpoint's name of
    each tensor of its state dict (of one that is tied, only the name that is stored). `inputs` is what it runs on.
    `merged` has those that it makes of others, as the experts of a mixture; `stored` lacks them.
    """

    module: nn.Module
    stored: Mapping[str, str]
    inputs: tuple[InputSpec, ...]
    merged: MergedWeights | None = None


def empty_from_config(config: Mapping[str, Any], tensors: Mapping[str, Array]) -> EmptyModel:
    """The module that config.json names, with room for `tensors`, of which only names and shapes are looked at.

    Raises RefusedError as `build_from_config` does.
    """
    with _offline():
        require_package(PACKAGE)
        kind, made = _class_and_config(config, len(tensors))
        with _parameters_on_meta():
            module = _instance(kind, made)
        merged = _fitting(module, tensors)
    own = module.state_dict()
    names = {name: name for name in (merged.kept if merged else tensors)}
    stored = {ours: theirs for ours, theirs in _renamed(names, own, module).items() if ours in own}
    return EmptyModel(module.eval(), stored, _inputs(kind, config), merged)


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Inside, modules are built with parameters on the meta device, and with buffers as they are.

    As accelerate's init_empty_weights does it: a parameter is moved as it is registered, before anything fills it.
    """
    register = nn.Module.register_parameter

    def registered(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and param.device.type != "meta":
            param = nn.Parameter(param.to("meta"), requires_grad=False)
        register(self, name, param)

    nn.Module.register_parameter = registered  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


@contextmanager
def _offline() -> Iterator[None]:
    """Nothing is fetched inside, whatever a config asks for."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    os.environ.update(_OFFLINE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _class_and_config(config: Mapping[str, Any], tensors: int) -> tuple[Any, Any]:
    import transformers

    names, model_type = config.get("architectures"), config.get("model_type")
    if not (isinstance(names, list) and names and isinstance(names[0], str) and isinstance(model_type, str)):
        raise RefusedError("its config.json names no architecture of transformers")
    if config.get("quantization_config") is not None:
        raise RefusedError("its config.json says that it is quantized, which is not rebuilt")
    _refuse_endless(config, tensors)
    kind = getattr(transformers, names[0], None) if names[0].isidentifier() else None
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise RefusedError(f"the transformers that is installed has no model class {shown(names[0])}")
    wanted = getattr(kind, "config_class", None)
    if wanted is None or wanted.model_type != model_type:
        raise RefusedError(f"its config.json is of type {shown(model_type)}, which {shown(names[0])} is not")
    try:
        made = wanted.from_dict(_cleaned(config))
        made.use_cache = False
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RefusedError(f"its config.json cannot be used: {type(error).__name__}: {reason}") from error
    return kind, made


def _cleaned(value: Any, depth: int = 0) -> Any:
    """The config without what could fetch or choose code."""
    if depth > _MAX_DEPTH:
        raise RefusedError("its config.json is nested too deeply")
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if not any(part in key for part in _DROPPED)}
        return {key: _cleaned(each, depth + 1) for key, each in kept.items()}
    return [_cleaned(each, depth + 1) for each in value] if isinstance(value, list) else value


def _refuse_endless(config: Mapping[str, Any], tensors: int) -> None:
    """A config may declare layers without end; the file holds at least one tensor for each of a real one."""
    for key, value in config.items():
        counts = value if isinstance(value, list) else [value]
        if ("layers" in key or "depth" in key) and any(type(each) is int and each > tensors + 100 for each in counts):
            raise RefusedError(f"its config.json declares more layers ({shown(key)}) than the file holds tensors")


def _instance(kind: Any, config: Any) -> nn.Module:
    try:
        made: nn.Module = kind._from_config(config, attn_implementation="eager")
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RefusedError(f"{kind.__name__} cannot be built from its config.json: {reason}") from error
    return made


def _fitting(module: nn.Module, tensors: Mapping[str, Array]) -> MergedWeights | None:
    """How the tensors are converted for the module, None where they fit as they are; raises RefusedError else."""
    try:
        _check(module, tensors)
    except RefusedError:
        merged = merged_weights(module, tensors)
        if merged is None:
            raise
        _check(module, {**merged.kept, **merged.shapes()})
        return merged
    return None


def _check(module: nn.Module, tensors: Mapping[str, Array | Tensor]) -> None:
    """Raise RefusedError for weights that do not fit, before any memory is taken for them."""
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = _renamed(tensors, wanted, module)
    tied = set(getattr(module, "_tied_weights_keys", None) or ())
    missing = [name for name in wanted if name not in given and name not in tied and not name.endswith(_COMPUTED)]
    odd = [name for name, array in given.items() if not name.endswith(_COMPUTED) and wanted.get(name) != array.shape]
    if missing or odd:
        what = f"lack {abridged(missing)}" if missing else f"have {abridged(odd)}, which it does not have in this shape"
        raise RefusedError(f"its weights do not fit {type(module).__name__}: they {what}")


def _renamed(tensors: Mapping[str, T], wanted: Mapping[str, Any], module: nn.Module) -> dict[str, T]:
    """The tensors by the module's names: as transformers renames them, with the base model's prefix or without."""
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    rename = _renaming(module)
    given = {}
    for name, array in tensors.items():
        newer = name
        for old, new in _OLD_NAMES.items():
            newer = newer.replace(old, new)
        forms = (newer, rename(newer))
        others = [each for form in forms for each in (form, prefix + form, form.removeprefix(prefix))]
        given[next((each for each in others if each in wanted), name)] = array
    return given


def _renaming(module: nn.Module) -> Callable[[str], str]:
    """What transformers calls a tensor today that the checkpoint has under an earlier name; since its version 5."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightRenaming, rename_source_key

        rules = [each for each in get_model_conversion_mapping(module) if isinstance(each, WeightRenaming)]
        rename_source_key("a.weight", rules, [])
    except (ImportError, AttributeError, TypeError):
        return lambda name: name
    return lambda name: str(rename_source_key(name, rules, [])[0])


def _load(module: nn.Module, tensors: Mapping[str, Array], converted: Iterable[tuple[str, Tensor]] = ()) -> None:
    """One tensor after the other, so that there is never a second copy of all of them."""
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    for name, array in _renamed(tensors, own, module).items():
        if name in own and own[name].shape == array.shape:  # of another are only buffers that the code computes
            own[name].copy_(to_tensor(array))
    for name, value in converted:
        own[name].copy_(value)
    tie = getattr(module, "tie_weights", None)
    if callable(tie):
        tie()


def _inputs(kind: Any, config: Mapping[str, Any]) -> tuple[InputSpec, ...]:
    """One sample of the input that the class names as its main one, as large as the config says.

    An encoder with a decoder takes the decoder's tokens as well.
    """
    name = str(getattr(kind, "main_input_name", "input_ids"))
    main = _main_input(name, config)
    if main is None:
        return ()
    if config.get("is_encoder_decoder") is not True:
        return (InputSpec("", *main, _below(main[0], config)),)
    first = InputSpec(name, *main, _below(main[0], config), keyword=True)
    second = InputSpec("decoder_input_ids", "int64", (None, _TOKENS), _below("int64", config), keyword=True)
    return (first, second)


def _below(dtype: str, config: Mapping[str, Any]) -> int | None:
    """The size of the vocabulary, which tokens stay below."""
    text = config.get("text_config")
    size = {**(text if isinstance(text, dict) else {}), **config}.get("vocab_size")
    return size if dtype == "int64" and type(size) is int and size > 0 else None


def _main_input(name: str, config: Mapping[str, Any]) -> tuple[str, tuple[int | None, ...]] | None:
    """Its dtype and shape; None for one that is not known."""
    vision = config.get("vision_config")
    seen: Mapping[str, Any] = {**(vision if isinstance(vision, dict) else {}), **config}
    if name == "pixel_values":
        size, channels = seen.get("image_size"), seen.get("num_channels")
        sides = size if isinstance(size, list) and len(size) == 2 else [size, size]
        known = [side if type(side) is int and 0 < side <= 4096 else _IMAGE for side in sides]
        return "float32", (None, channels if type(channels) is int else 3, *known)
    if name == "input_features":
        bins, positions = config.get("num_mel_bins"), config.get("max_source_positions")
        fits = all(type(n) is int and 0 < n <= 4096 for n in (bins, positions))
        return ("float32", (None, bins, 2 * positions)) if fits and bins and positions else None
    if name == "input_values":
        return "float32", (None, _SAMPLES)
    return ("int64", (None, _TOKENS)) if name == "input_ids" else None
