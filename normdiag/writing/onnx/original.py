"""The ONNX file as it is: parsed once, and open until the result is written, so that both may have one name."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from normdiag.errors import InputError
from normdiag.models.onnx import wire
from normdiag.models.onnx.external import CHANGED, TensorReader
from normdiag.models.onnx.file import open_onnx
from normdiag.models.onnx.parse import check_names

_BLOCK = 2**22


@dataclass(frozen=True, eq=False)
class Original:
    """A model as parsed (`proto`, never changed, without the values of large weights) and as bytes.

    `model` and `graph` are the fields of the model and of its graph, whose ranges are read from `stream`. `nodes` are
    those, by index, that were changed before anything else, and so differ from the bytes.
    """

    path: Path
    proto: Any
    reader: TensorReader
    stream: IO[bytes]
    model: tuple[wire.Field, ...]
    graph: tuple[wire.Field, ...]
    nodes: Mapping[int, Any] = field(default_factory=dict)

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a range, in blocks. Raises InputError where the file was cut meanwhile."""
        self.stream.seek(start)
        while start < end:
            block = self.stream.read(min(_BLOCK, end - start))
            if not block:
                raise InputError(f"{self.path}: {CHANGED}")
            start += len(block)
            yield block


def _check_unique(graph: Any, path: Path) -> None:
    counts = Counter(tensor.name for tensor in graph.initializer)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{path}: two initializers are called {twice!r}: which of them counts is not defined")


def read_original(path: Path) -> Original:
    """Open and parse an ONNX file; its local functions stay as they are. External data is checked but not read.

    Raises InputError as load_onnx does.
    """
    file = open_onnx(path)
    check_names(file.proto.graph, path)
    _check_unique(file.proto.graph, path)
    if file.layers is not None:
        return Original(path, file.proto, file.reader, file.stream, *file.layers)
    # The file says the same in an unusual way: the model as protobuf writes it.
    data = file.proto.SerializeToString()
    return Original(path, file.proto, file.reader, io.BytesIO(data), *wire.layers(data))
