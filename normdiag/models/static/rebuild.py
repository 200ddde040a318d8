"""The few constructors whose result is a real value; every other call stays an inert Record.

Nothing here imports or runs what a file names: a constructor is looked up by name in a table of our own functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from normdiag.models.static.dtypes import torch_dtype
from normdiag.models.static.inert import (
    Global,
    MalformedError,
    PickledOrderedDict,
    PickledSet,
    PickledSize,
    Record,
    Storage,
    TensorRef,
)
from normdiag.models.static.pickled_numpy import tensor_of

Constructor = Callable[[Global, tuple[Any, ...]], Any]

# Far above every real tensor; torch itself allows 64.
MAX_RANK = 64
_MAX_INDEX = 2**62


def construct(function: Any, args: tuple[Any, ...]) -> Any:
    """What calling the global `function` with `args` stands for. Raises MalformedError for impossible tensors."""
    if not isinstance(function, Global):
        return Record(Global("", "call"), (function, *args))
    constructor = _CONSTRUCTORS.get(function.path)
    return constructor(function, args) if constructor else Record(function, args)


def _dictionary(function: Global, args: tuple[Any, ...]) -> Any:
    """dict, OrderedDict and Counter, empty or from a dictionary or a list of pairs (as Python 2 wrote them)."""
    if not args:
        return {}
    if isinstance(args[0], dict):
        return dict(args[0])
    pairs = args[0] if isinstance(args[0], (list, tuple)) else ()
    if all(isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        return {pair[0]: pair[1] for pair in pairs}
    return Record(function, args)


def _default_dictionary(function: Global, args: tuple[Any, ...]) -> Any:
    return _dictionary(function, args[1:])


def _ordered_dictionary(function: Global, args: tuple[Any, ...]) -> Any:
    made = _dictionary(function, args)
    return PickledOrderedDict(made) if isinstance(made, dict) else made


def _sequence(kind: Callable[[Any], Any]) -> Constructor:
    """Lists, tuples, sets and sizes, empty or from a list or tuple."""

    def make(function: Global, args: tuple[Any, ...]) -> Any:
        if not args:
            return kind(())
        return kind(args[0]) if isinstance(args[0], (list, tuple)) else Record(function, args)

    return make


def _bytes(function: Global, args: tuple[Any, ...]) -> Any:
    """bytes and bytearray; protocol 2 spells bytes as a string to be encoded in Latin-1."""
    if not args:
        return b""
    if isinstance(args[0], (bytes, bytearray)):
        return bytes(args[0])
    return args[0].encode("latin-1", "replace") if isinstance(args[0], str) else Record(function, args)


def _first(function: Global, args: tuple[Any, ...]) -> Any:
    """Wrappers around a value that is wanted bare: buffers, typed lists and tags of TorchScript."""
    return args[0] if args else Record(function, args)


def _parameter(function: Global, args: tuple[Any, ...]) -> Any:
    made = _first(function, args)
    return replace(made, parameter=True) if isinstance(made, TensorRef) else made


def _reconstructor(function: Global, args: tuple[Any, ...]) -> Any:
    """copyreg's way to make an object, used by pickle protocols 0 and 1 and by __reduce_ex__."""
    return Record(args[0], args[1:]) if args and isinstance(args[0], Global) else Record(function, args)


def _tensor(function: Global, args: tuple[Any, ...]) -> Any:
    """_rebuild_tensor and _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)."""
    if len(args) < 4 or not isinstance(args[0], Storage) or _has_math_bits(args[6:]):
        return Record(function, args)
    return tensor_view(args[0], args[0].dtype, args[1], args[2], args[3])


def _typed_tensor(function: Global, args: tuple[Any, ...]) -> Any:
    """_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)."""
    plain = len(args) >= 7 and isinstance(args[0], Storage) and not _has_math_bits(args[7:])
    if not (plain and isinstance(args[6], Global)):
        return Record(function, args)
    dtype = torch_dtype(args[6].name)
    return tensor_view(args[0], dtype, args[1], args[2], args[3]) if dtype else Record(function, args)


def _has_math_bits(metadata: tuple[Any, ...]) -> bool:
    """Whether a lazy conjugate or negation is to be applied to the stored numbers."""
    return bool(metadata) and isinstance(metadata[0], dict) and not metadata[0].keys().isdisjoint(("conj", "neg"))


def _numpy_tensor(function: Global, args: tuple[Any, ...]) -> Any:
    """_rebuild_device_tensor_from_numpy(array, dtype, device, requires_grad): XLA and other devices.

    Its dtype may differ from the array's (bfloat16 travels as float32): the array is what the file holds.
    """
    return tensor_of(args[0]) or Record(function, args) if args else Record(function, args)


def _subclass(function: Global, args: tuple[Any, ...]) -> Any:
    """torch._tensor._rebuild_from_type_v2(function, type, args, state): a tensor with a class or attributes."""
    if len(args) < 3 or not isinstance(args[0], Global) or not isinstance(args[2], tuple):
        return Record(function, args)
    # Never through itself: a file could nest it without end.
    return Record(function, args) if args[0].path == function.path else construct(args[0], args[2])


def tensor_view(storage: Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> TensorRef:
    """A checked TensorRef; only the storage's true length is checked later, when it is read."""
    if not (isinstance(shape, (tuple, list)) and isinstance(strides, (tuple, list)) and len(shape) == len(strides)):
        raise MalformedError("a tensor whose size and strides do not match")
    if len(shape) > MAX_RANK:
        raise MalformedError(f"a tensor of {len(shape)} dimensions")
    for number in (offset, *shape, *strides):
        if type(number) is not int or not 0 <= number < _MAX_INDEX:
            raise MalformedError("a tensor with an impossible size, stride or offset")
    return TensorRef(storage, dtype, offset, tuple(shape), tuple(strides))


_BUILTINS: Mapping[str, Constructor] = {
    "dict": _dictionary,
    "list": _sequence(list),
    "set": _sequence(PickledSet),
    "frozenset": _sequence(PickledSet),
    "tuple": _sequence(tuple),
    "bytes": _bytes,
    "bytearray": _bytes,
}
_CONSTRUCTORS: Mapping[str, Constructor] = {
    "collections.OrderedDict": _ordered_dictionary,
    "collections.Counter": _dictionary,
    "collections.defaultdict": _default_dictionary,
    "collections.deque": _sequence(list),
    **{f"{module}.{name}": made for module in ("builtins", "__builtin__") for name, made in _BUILTINS.items()},
    "_codecs.encode": _bytes,
    "copyreg._reconstructor": _reconstructor,
    "copy_reg._reconstructor": _reconstructor,
    "copyreg.__newobj__": _reconstructor,
    "copy_reg.__newobj__": _reconstructor,
    "torch.Size": _sequence(PickledSize),
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._utils._rebuild_device_tensor_from_numpy": _numpy_tensor,
    "torch._utils._rebuild_xla_tensor": _numpy_tensor,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.nn.parameter.Buffer": _first,
    "torch.autograd.variable.Variable": _first,
    **{
        f"torch.jit._pickle.{name}": _first
        for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
    },
}
