"""A pickle machine that runs nothing: opcodes from pickletools, an explicit stack and memo, and inert results.

The C unpickler recurses and imports; this one does neither. Sets become lists, keys slow to hash opaque: constant time.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any, Protocol, cast

from normdiag.models.static.inert import Global, MalformedError, OpaqueKey, PickledOrderedDict, PickledSet, Record
from normdiag.models.static.rebuild import construct

# A checkpoint of a thousand layers with its optimizer takes some 200 000 opcodes.
MAX_OPCODES = 2_500_000
# Larger integers can be made to collide in a dictionary: hash(n) is n modulo 2^61 - 1.
_MAX_KEY = 2**61 - 2

PersistentLoad = Callable[[Any], Any]
Call = Callable[[Any, tuple[Any, ...]], Any]


class Readable(Protocol):
    """The part of a binary file that pickletools needs."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102
    def readline(self) -> bytes: ...  # noqa: D102
    def tell(self) -> int: ...  # noqa: D102


def run(
    file: Readable, persistent_load: PersistentLoad, call: Call = construct, imported: set[str] | None = None
) -> Any:
    """The object that the pickle at the file's position describes; the file then stands after its last byte.

    `persistent_load` answers persistent ids (torch's storages), `call` stands in for calling a global. The dotted names
    of globals are added to `imported`.
    Raises MalformedError for every pickle that is damaged, truncated or too long.
    """
    machine = _Machine(persistent_load, call, set() if imported is None else imported)
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(cast(IO[bytes], file))):
            if opcode.name == "STOP":
                return machine.pop()
            if count > MAX_OPCODES:
                raise MalformedError(f"a pickle of more than {MAX_OPCODES} opcodes")
            handler = _HANDLERS.get(opcode.name)
            if handler is None:
                raise MalformedError(f"pickle opcode {opcode.name} is not supported")
            handler(machine, arg)
    # What opcodes without operands, with wrong operands or cut in the middle come down to.
    except (IndexError, KeyError, TypeError, AttributeError, AssertionError, ValueError, OverflowError) as error:
        if isinstance(error, MalformedError):
            raise
        raise MalformedError(f"damaged pickle ({_reason(error)})") from None
    raise MalformedError("damaged pickle (no end)")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "exhausted" in text or "remain" in text or "not enough data" in text:
        return "it ends too early: the file is truncated"
    return text[:100] or type(error).__name__


class _Machine:
    """The state of the machine: a stack, the stacks below each mark, and the memo."""

    def __init__(self, persistent_load: PersistentLoad, call: Call, imported: set[str]) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.persistent_load = persistent_load
        self.call = call
        self.imported = imported

    def named(self, module: str, name: str) -> Global:
        found = Global(module, name)
        self.imported.add(found.path)
        return found

    def pop(self) -> Any:
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.below.pop()
        return items


def _get(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[int(index)])


def _put(machine: _Machine, index: int) -> None:
    machine.memo[int(index)] = machine.stack[-1]


def _memoize(machine: _Machine) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _global(machine: _Machine, arg: str) -> None:
    module, _, name = arg.partition(" ")
    machine.stack.append(machine.named(module, name))


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not (isinstance(name, str) and isinstance(module, str)):
        raise MalformedError("damaged pickle (a global without a name)")
    machine.stack.append(machine.named(module, name))


def _extension(machine: _Machine, code: int) -> None:
    machine.stack.append(Global("copyreg", f"extension_{code}"))


def _mark(machine: _Machine) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _pop(machine: _Machine) -> None:
    if machine.stack:
        machine.pop()
    else:
        machine.pop_mark()


def _tuple(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append(tuple(items))


def _list(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append(items)


def _frozenset(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append(PickledSet(items))


def _short_tuple(machine: _Machine, count: int) -> None:
    if len(machine.stack) < count:
        raise MalformedError("damaged pickle (stack underflow)")
    machine.stack[-count:] = [tuple(machine.stack[-count:])]


def _dict(machine: _Machine) -> None:
    items = machine.pop_mark()
    made: dict[Any, Any] = {}
    _set_items(made, items)
    machine.stack.append(made)


def _set_items(target: Any, items: list[Any]) -> None:
    if isinstance(target, Record):
        target = target.items
    if not isinstance(target, dict) or len(items) % 2:
        raise MalformedError("damaged pickle (entries for what is no dictionary)")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[_key(key)] = value


def _key(key: Any) -> Any:
    if isinstance(key, int):
        return key if abs(key) <= _MAX_KEY else OpaqueKey(key)
    if key is None or isinstance(key, (str, bytes, float, OpaqueKey)):
        return key
    return OpaqueKey(key)


def _append_all(target: Any, items: list[Any]) -> None:
    if isinstance(target, Record):
        target = target.values
    if not isinstance(target, list):
        raise MalformedError("damaged pickle (elements for what is no list)")
    target.extend(items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine.stack[-1], [key, value])


def _set_marked_items(machine: _Machine) -> None:
    items = machine.pop_mark()
    _set_items(machine.stack[-1], items)


def _append(machine: _Machine) -> None:
    value = machine.pop()
    _append_all(machine.stack[-1], [value])


def _append_marked(machine: _Machine) -> None:
    items = machine.pop_mark()
    _append_all(machine.stack[-1], items)


def _call(machine: _Machine) -> None:
    args, function = machine.pop(), machine.pop()
    machine.stack.append(machine.call(function, _arguments(args)))


def _call_with_keywords(machine: _Machine) -> None:
    keywords, args, function = machine.pop(), machine.pop(), machine.pop()
    made = machine.call(function, _arguments(args))
    if isinstance(made, Record) and isinstance(keywords, dict):
        made.state = keywords
    machine.stack.append(made)


def _instance(machine: _Machine, arg: str) -> None:
    args = machine.pop_mark()
    module, _, name = arg.partition(" ")
    machine.stack.append(machine.call(machine.named(module, name), tuple(args)))


def _object(machine: _Machine) -> None:
    args = machine.pop_mark()
    machine.stack.append(machine.call(args[0], tuple(args[1:])))


def _arguments(args: Any) -> tuple[Any, ...]:
    if not isinstance(args, tuple):
        raise MalformedError("damaged pickle (a call without a tuple of arguments)")
    return args


def _build(machine: _Machine) -> None:
    state = machine.pop()
    target = machine.stack[-1]
    # Plain values (a Parameter) keep no attributes here.
    if isinstance(target, (Record, PickledOrderedDict)):
        target.state = state


def _persistent(machine: _Machine) -> None:
    machine.stack.append(machine.persistent_load(machine.pop()))


Handler = Callable[[_Machine, Any], None]


def _pushes(make: Callable[[], Any]) -> Handler:
    return lambda machine, _arg: machine.stack.append(make())


def _no_argument(handle: Callable[[_Machine], None]) -> Handler:
    return lambda machine, _arg: handle(machine)


_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_FLOATS = ("FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_HANDLERS: Mapping[str, Handler] = {
    **dict.fromkeys((*_INTEGERS, *_FLOATS, *_TEXTS, *_BYTES), lambda machine, arg: machine.stack.append(arg)),
    **dict.fromkeys(("PROTO", "FRAME", "READONLY_BUFFER"), lambda _machine, _arg: None),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _extension),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "LIST": _no_argument(_list),
    "FROZENSET": _no_argument(_frozenset),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), _no_argument(_append_marked)),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _no_argument(_call)),
    "NONE": _pushes(lambda: None),
    "NEWTRUE": _pushes(lambda: True),
    "NEWFALSE": _pushes(lambda: False),
    "EMPTY_TUPLE": _pushes(tuple),
    "EMPTY_LIST": _pushes(list),
    "EMPTY_DICT": _pushes(dict),
    "EMPTY_SET": _pushes(PickledSet),
    "GLOBAL": _global,
    "INST": _instance,
    "PERSID": lambda machine, arg: machine.stack.append(machine.persistent_load(arg)),
    "MEMOIZE": _no_argument(_memoize),
    "STACK_GLOBAL": _no_argument(_stack_global),
    "MARK": _no_argument(_mark),
    "POP": _no_argument(_pop),
    "POP_MARK": _no_argument(lambda machine: machine.pop_mark().clear()),
    "DUP": _no_argument(lambda machine: machine.stack.append(machine.stack[-1])),
    "TUPLE": _no_argument(_tuple),
    "TUPLE1": _no_argument(lambda machine: _short_tuple(machine, 1)),
    "TUPLE2": _no_argument(lambda machine: _short_tuple(machine, 2)),
    "TUPLE3": _no_argument(lambda machine: _short_tuple(machine, 3)),
    "DICT": _no_argument(_dict),
    "SETITEM": _no_argument(_set_item),
    "SETITEMS": _no_argument(_set_marked_items),
    "APPEND": _no_argument(_append),
    "NEWOBJ_EX": _no_argument(_call_with_keywords),
    "OBJ": _no_argument(_object),
    "BUILD": _no_argument(_build),
    "BINPERSID": _no_argument(_persistent),
}
