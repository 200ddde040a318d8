"""What a model holds, layer by layer, from the tensors of a PyTorch file or from the graph of an ONNX model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from normdiag.records import Conv, Linear, Norm, NormLayer, Op, OpGraph, ScaleShift
from normdiag.records.contents import LayerContents, LayerKind
from normdiag.records.model import Array
from normdiag.records.ops import Parameter

# Names that exporters number, and that say nothing of what they are.
_NUMBERED = re.compile(r"(?:onnx::.*|val_\d+|_?\d+|/.*|.*_output_\d+|.*#.*)")
_COUNTERS = ("num_batches_tracked",)


def contents_of_tensors(
    tensors: Mapping[str, Array], norms: Sequence[NormLayer], packed: Collection[str] = ()
) -> tuple[LayerContents, ...]:
    """The floating-point tensors by the module that they belong to; `norms` are the normalization layers among them.

    A tensor of the model itself, without a module, is a layer by its own name. Those that are `packed` count byte by
    byte, for nothing decodes them.
    """
    groups: dict[str, dict[str, Parameter]] = {}
    for name, array in tensors.items():
        path, _, role = name.rpartition(".")
        if role not in _COUNTERS and (_is_float(array) or name in packed):
            held = groups.setdefault(path or role, {})
            held[role if path else "weight"] = _parameter(name, array) if _is_float(array) else _bytes(name, array)
    by_name = {norm.name: norm for norm in norms}
    places = dict.fromkeys([*groups, *by_name])
    return tuple(_of_module(name, groups.get(name, {}), by_name.get(name)) for name in places)


def contents_of_graph(graph: OpGraph, stored: Mapping[str, Parameter]) -> tuple[LayerContents, ...]:
    """The layers of a graph in its order, then those of the `stored` tensors that none of them reads."""
    layers = [layer for op in graph.ops if (layer := _of_op(op)) is not None]
    layers += [_of_norm(norm) for norm, _ in graph.unreached]
    read = {parameter.name for op in graph.ops for parameter in _parameters(op)}
    known = {tensor.name for layer in layers for tensor in layer.tensors.values()} | read
    others = {name: each for name, each in stored.items() if name not in known}
    return (*_with_own_names(layers), *_of_stored(others, {layer.name: layer.tensors for layer in layers}))


def _is_float(array: Array) -> bool:
    return array.dtype.kind == "f" or "float" in array.dtype.name


def _bytes(name: str, array: Array) -> Parameter:
    return Parameter(name, (array.nbytes,), "float32", lambda: np.frombuffer(array.tobytes(), np.uint8).astype("f4"))


def _parameter(name: str, array: Array) -> Parameter:
    return Parameter(name, array.shape, array.dtype.name, lambda: array)


def _of_module(name: str, tensors: Mapping[str, Parameter], norm: NormLayer | None) -> LayerContents:
    if norm is not None:
        return _of_norm(norm)
    return LayerContents(name, "weights", tensors)


def _of_norm(norm: NormLayer) -> LayerContents:
    arrays = {
        "weight": norm.gamma,
        "bias": norm.beta,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
    }
    held = {role: _parameter(f"{norm.name}.{role}", each) for role, each in arrays.items() if each is not None}
    return LayerContents(norm.name, "norm", held, norm)


def _of_op(op: Op) -> LayerContents | None:
    detail = op.detail
    if isinstance(detail, Norm):
        return _of_norm(detail.layer)
    if isinstance(detail, ScaleShift):
        return None if detail.norm is None else _of_norm(detail.norm)
    if isinstance(detail, Conv):
        kind: LayerKind = "conv_transpose" if detail.transposed else "conv"
        return LayerContents(
            op.name, kind, _held(detail.weight, detail.bias), aliases=_prefix(detail.weight, detail.bias)
        )
    if isinstance(detail, Linear):
        weight = _upright(detail)
        return LayerContents(op.name, "linear", _held(weight, _biased(detail)), aliases=_prefix(weight, detail.bias))
    return None


def _held(weight: Parameter, bias: Parameter | None) -> dict[str, Parameter]:
    return {"weight": weight} if bias is None else {"weight": weight, "bias": bias}


def _prefix(*parameters: Parameter | None) -> tuple[str, ...]:
    """'conv1' where the weights are called 'conv1.weight'; not after a bias of zeros that layers share."""
    own = (each for each in parameters if each is not None and not each.shared_with)
    names = (each.name for each in own if not _NUMBERED.fullmatch(each.name))
    return tuple(dict.fromkeys(path for name in names if (path := name.rpartition(".")[0])))


def _upright(detail: Linear) -> Parameter:
    """The matrix as PyTorch stores it, (out, in), with the factor of a Gemm in it."""
    weight, turned, alpha = detail.weight, detail.out_axis == -1, detail.alpha
    if len(weight.shape) != 2 or (not turned and alpha == 1.0):
        return weight
    shape = weight.shape[::-1] if turned else weight.shape

    def read() -> Array:
        values = weight.read().T if turned else weight.read()
        return values if alpha == 1.0 else values * values.dtype.type(alpha)

    return replace(weight, shape=shape, read=read)


def _biased(detail: Linear) -> Parameter | None:
    """A bias with one number for each output; None where it is anything else."""
    bias = detail.bias
    if bias is None or detail.beta != 1.0 or int(np.prod(bias.shape)) != detail.weight.shape[detail.out_axis]:
        return None
    return replace(bias, shape=(int(np.prod(bias.shape)),), read=lambda: bias.read().reshape(-1))


def _parameters(op: Op) -> Iterable[Parameter]:
    fields = (getattr(op.detail, name, None) for name in ("weight", "bias", "gamma", "beta"))
    return (each for each in fields if isinstance(each, Parameter))


def _with_own_names(layers: Sequence[LayerContents]) -> Iterable[LayerContents]:
    """A layer that is called as its norm is, since that was folded into it, is called as its weights are."""
    for layer in layers:
        other = next((alias for alias in layer.aliases if alias != layer.name), None)
        if layer.norm is None and other is not None and layer.tensors["weight"].name == f"{other}.weight":
            yield replace(layer, name=other, aliases=(layer.name, *(each for each in layer.aliases if each != other)))
        else:
            yield layer


def _of_stored(
    stored: Mapping[str, Parameter], taken: Mapping[str, Mapping[str, Parameter]]
) -> Iterable[LayerContents]:
    """What layers do not read as it is; a weight that is stored for a layer of its name goes in by a transpose, say."""
    groups: dict[str, dict[str, Parameter]] = {}
    for name, parameter in stored.items():
        path, _, role = name.rpartition(".")
        if role in taken.get(path, ()):
            continue
        if not path or path in taken or _NUMBERED.fullmatch(name):
            groups[name] = {"weight": parameter}
        else:
            groups.setdefault(path, {})[role] = parameter
    return (
        LayerContents(name, "weights", tensors, unnamed="." not in name or bool(_NUMBERED.fullmatch(name)))
        for name, tensors in groups.items()
    )
