"""Damage to a file: to any of its bytes, and to what its format is made of."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

from tests.fuzz.seeds import Seed, members

# Numbers that bounds checks get wrong.
NUMBERS = (0, 1, -1, 7, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, -(2**63))
TEXTS = ("", "x" * 3000, "\x00", "\x1b[31m", "../../etc/passwd", "é\u202e", "[" * 2000, "9" * 20_000, "nan", "1e999")
CANARY = b"canary-was-run"


def mutated(seed: Seed, rng: random.Random) -> bytes:
    """The seed's content, damaged once or a few times."""
    content = seed.content
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        way = rng.choice(_WAYS[seed.kind])
        try:
            content = way(content, rng)
        except Exception:  # it is so damaged already that it has no fields or members any more
            content = any_bytes(content, rng)
    return content


def any_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, taken out, repeated, put in, or cut off at the end."""
    if not content:
        return content
    start = rng.randrange(len(content))
    size = min(rng.choice((1, 1, 2, 4, 8, 64, 1024)), len(content) - start)
    way = rng.randrange(5)
    if way == 0:
        return content[:start] + rng.randbytes(size) + content[start + size :]
    if way == 1:
        return content[:start] + content[start + size :]
    if way == 2:
        return (
            content[: start + size] + content[start : start + size] * rng.choice((1, 2, 50)) + content[start + size :]
        )
    if way == 3:
        number = rng.choice(NUMBERS) % 2**64
        return content[:start] + number.to_bytes(8, "little")[: rng.choice((1, 2, 4, 8))] + content[start:]
    return content[:start]


def one_bit(content: bytes, rng: random.Random) -> bytes:
    """One bit flipped, after the first few bytes: most formats still read it, and values come out wrong."""
    changed = bytearray(content)
    if len(changed) > 8:
        changed[rng.randrange(8, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def early_bytes(content: bytes, rng: random.Random) -> bytes:
    """The same among the first bytes, where headers are."""
    end = min(len(content), 256)
    return any_bytes(content[:end], rng) + content[end:]


def protobuf(content: bytes, rng: random.Random) -> bytes:
    """One field of one message of an ONNX model, whatever it is, set to a number or text that it should not have."""
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(content)
    message = model
    for _ in range(rng.randrange(1, 6)):
        inner = [each for field, value in message.ListFields() if field.message_type for each in _each(field, value)]
        if not inner:
            break
        message = rng.choice(inner)
    fields = [field for field in message.DESCRIPTOR.fields if not field.message_type]
    if fields:
        _set(message, rng.choice(fields), rng)
    return model.SerializeToString()


def _each(field, value) -> list:
    return list(value) if field.is_repeated else [value]


def _set(message, field, rng: random.Random) -> None:
    value: object = rng.choice(NUMBERS) if field.cpp_type <= field.CPPTYPE_BOOL else rng.choice(TEXTS)
    if field.cpp_type == field.CPPTYPE_STRING and field.type == field.TYPE_BYTES:
        value = rng.randbytes(rng.choice((0, 3, 64)))
    try:
        if not field.is_repeated:
            setattr(message, field.name, value)
        elif rng.random() < 0.3:
            message.ClearField(field.name)
        else:
            getattr(message, field.name).extend([value] * rng.choice((1, 1, 5, 200)))
    except (TypeError, ValueError):
        message.ClearField(field.name)


def zip_members(content: bytes, rng: random.Random) -> bytes:
    """A member of an archive damaged, taken out, renamed, doubled or compressed."""
    parts = list(members(content).items())
    index = rng.randrange(len(parts))
    name, data = parts[index]
    way = rng.randrange(6)
    if way == 0:
        parts[index] = name, any_bytes(data, rng)
    elif way == 5:
        parts[index] = name, one_bit(data, rng)
    elif way == 1:
        del parts[index]
    elif way == 2:
        parts[index] = rng.choice((name + "x", "../" + name, name.replace("/", "//"), "a" * 500, "data.pkl")), data
    elif way == 3:
        parts.append((name, rng.randbytes(16)))
    else:
        parts[index] = name, data + b"\0" * rng.choice((1, 10**6))
    target = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", method) as archive:
        warnings.simplefilter("ignore")  # that names are there twice is meant
        for each, bytes_ in parts:
            archive.writestr(each, bytes_)
    return target.getvalue()


def opcodes(content: bytes, rng: random.Random) -> bytes:
    """Opcodes put into the pickle of a file, among them calls that would leave a trace if they were made."""
    call = b"cposix\nsystem\n(X" + len(_TOUCH).to_bytes(4, "little") + _TOUCH + b"tR"
    choices = (
        call,
        call + b"0",
        b"0",
        b"(",
        b"t",
        b"R",
        b"b",
        b"u",
        b"s",
        b"}",
        b"]",
        b"l",
        b"d",
        b"2" * 50,
        b"Q",
        b"\x93",
    )
    parts = members(content) if content[:2] == b"PK" else {"": content}
    name = next((each for each in parts if each.endswith("data.pkl")), "")
    data = parts.get(name, b"")
    place = rng.randrange(2, max(len(data), 3))
    parts[name] = data[:place] + rng.choice(choices) * rng.choice((1, 1, 3, 1000)) + data[place:]
    if not name:
        return parts[name]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for each, bytes_ in parts.items():
            archive.writestr(each, bytes_)
    return target.getvalue()


_TOUCH = b"touch " + CANARY


def profile_header(content: bytes, rng: random.Random) -> bytes:
    """Another value somewhere in the description that a profile has in its header."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    told = json.loads(header["__metadata__"]["normdiag.profile"])
    place: Any = told
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], (dict, list)) or not place[key] or rng.random() < 0.2:
            place[key] = rng.choice((rng.choice(NUMBERS), rng.choice(TEXTS), None, [], {}))
            break
        place = place[key]
    header["__metadata__"]["normdiag.profile"] = json.dumps(told)
    text = json.dumps(header, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def safetensors_header(content: bytes, rng: random.Random) -> bytes:
    """An entry of the header with another dtype, shape, offsets or name."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    name = rng.choice(list(header))
    key = rng.choice(("dtype", "shape", "data_offsets", "name"))
    sizes = [rng.choice(NUMBERS) for _ in range(rng.randrange(4))]
    if key == "name":
        header[rng.choice(TEXTS)] = header.pop(name)
    else:
        header[name][key] = rng.choice((rng.choice(NUMBERS), rng.choice(TEXTS), sizes, None, {}))
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    length = rng.choice((len(text), len(text), len(text), rng.choice(NUMBERS) % 2**64))
    return length.to_bytes(8, "little") + text + content[8 + size :]


def gguf_header(content: bytes, rng: random.Random) -> bytes:
    """A length, count, type, size or offset of the header, or the bytes where one would be, set to a number."""
    width = rng.choice((4, 8))
    known = [at for at in range(4, min(len(content), 1024) - 8) if content[at] and not any(content[at + 2 : at + 4])]
    place = rng.choice(known)
    return content[:place] + (rng.choice(NUMBERS) % 256**width).to_bytes(width, "little") + content[place + width :]


def text(content: bytes, rng: random.Random) -> bytes:
    """A number or a word of a text exchanged for one that does not belong there."""
    words = content.split(b" ")
    wrong = rng.choice((*map(str, NUMBERS), *TEXTS)).encode("utf-8", "replace")
    words[rng.randrange(len(words))] = wrong
    return b" ".join(words)


def json_value(content: bytes, rng: random.Random) -> bytes:
    """Well-formed JSON in which one value is of another type or size, or one key is missing or new."""
    document = json.loads(content)
    inside = document
    while True:
        inner = [each for each in (inside.values() if isinstance(inside, dict) else inside) if each and _holds(each)]
        if not inner or rng.random() < 0.3:
            break
        inside = rng.choice(inner)
    key = rng.choice(list(inside)) if isinstance(inside, dict) else rng.randrange(len(inside))
    way = rng.randrange(4)
    if way == 0:
        del inside[key]
    elif way == 1 and isinstance(inside, dict):
        inside[rng.choice(TEXTS)] = inside[key]
    else:
        inside[key] = rng.choice((*NUMBERS, *TEXTS, None, True, 0.5, [], {}, [inside[key]] * 3))
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _holds(value: object) -> bool:
    return isinstance(value, dict | list)


def toml_value(content: bytes, rng: random.Random) -> bytes:
    """Well-formed TOML in which the value of one key is of another type or size."""
    lines = content.split(b"\n")
    keys = [index for index, line in enumerate(lines) if b" = " in line]
    if not keys:
        return any_bytes(content, rng)
    index = rng.choice(keys)
    name = lines[index].partition(b" = ")[0]
    values = ("true", "-1", "0", "0.5", "1e999", "nan", "[]", '["ND1"]', '[["x"]]', '""', '"info"', "{}", "1979-05-27")
    lines[index] = name + b" = " + rng.choice((*values, *(str(number) for number in NUMBERS))).encode()
    return b"\n".join(lines)


Way = Callable[[bytes, random.Random], bytes]
_WAYS: dict[str, tuple[Way, ...]] = {
    "onnx": (any_bytes, protobuf, protobuf, protobuf),
    "onnx run": (any_bytes, protobuf, protobuf, protobuf),
    "onnx fold": (any_bytes, protobuf, protobuf, protobuf),
    "torch zip": (any_bytes, zip_members),
    "pickle": (opcodes, opcodes, any_bytes, one_bit, one_bit),
    "safetensors": (safetensors_header, safetensors_header, early_bytes, one_bit),
    "gguf": (gguf_header, gguf_header, gguf_header, early_bytes, any_bytes, one_bit),
    "quantized": (safetensors_header, safetensors_header, early_bytes, one_bit),
    "profile": (safetensors_header, early_bytes, profile_header, profile_header, one_bit),
    "npy": (text, early_bytes, any_bytes, one_bit),
    "npz": (any_bytes, zip_members, zip_members),
    "image": (any_bytes, early_bytes, one_bit),
    "toml": (text, any_bytes, toml_value, toml_value),
    "baseline": (text, any_bytes, json_value, json_value),
}
