"""From bytes to a checked onnx.ModelProto whose local functions are inlined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from normdiag.errors import InputError

# Protobuf's own limit on one message; larger models keep their weights in external files.
MAX_BYTES = 2**31 - 1
# Calls of functions that call functions grow exponentially; real models stay far below this.
MAX_INLINED_NODES = 100_000
# More dimensions than these no array of numpy has (2.0 and later).
MAX_RANK = 64
MAX_CALL_DEPTH = 100
# onnx.AttributeProto.GRAPH and GRAPHS; 0 where an old exporter has left the type out.
GRAPH_TYPES = frozenset({0, 5, 10})


def parse_model(path: Path) -> Any:
    """The onnx.ModelProto in `path`, whole. External data is not read, and nothing of the model is run.

    Raises InputError where the file cannot be read, is not an ONNX model, or holds no graph.
    """
    try:
        check_size(path)
        return parse_bytes(path.read_bytes(), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def parse_bytes(data: bytes | memoryview, path: Path) -> Any:
    """The onnx.ModelProto in `data`, which came from `path`. Raises InputError as parse_model does."""
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's DecodeError, whose home differs between its implementations
        message = "cannot be parsed as ONNX: the file is truncated or damaged; export it again"
        raise InputError(f"{path}: {message}") from None
    _drop_broken_texts(model)
    if not model.HasField("graph") or not (model.graph.output or model.graph.node):
        raise InputError(f"{path}: holds no ONNX graph: the file is truncated or is not an ONNX model")
    if not model.opset_import:
        raise InputError(f"{path}: names no operator set: the file is truncated or is not an ONNX model")
    return model


def _drop_broken_texts(model: Any) -> None:
    """Leave out what describes a model where it is not UTF-8: protobuf hands it out as bytes, and takes none back."""
    for name in ("producer_name", "producer_version", "domain", "doc_string"):
        if isinstance(getattr(model, name), bytes):
            model.ClearField(name)


def check_size(path: Path) -> None:
    """Raise InputError for a file that is larger than protobuf can read, OSError where there is none."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(f"{path}: {size} bytes are more than the 2 GiB that an ONNX file can hold")


def inline_functions(model: Any, path: Path) -> Any:
    """The model with its local functions written out. Raises InputError for functions without end."""
    if not model.functions:
        return model
    _check_expansion(model, path)
    from onnx import inliner

    try:
        inlined = inliner.inline_local_functions(model)
        return _converted(inlined) if inlined.functions else inlined
    except Exception as error:  # the inliner raises what its C++ raises: RuntimeError, ValueError, its own kinds
        raise InputError(f"{path}: its local functions cannot be inlined: {_first_line(error)}") from None


def check_names(graph: Any, path: Path) -> None:
    """Raise InputError for names that are not UTF-8: protobuf hands them out as bytes, and no other tool takes them."""
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    names = [value.name for value in values]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    if any(isinstance(name, bytes) for name in names):
        raise InputError(f"{path}: has names that are not UTF-8 text: the file is damaged; export it again")
    for node in graph.node:
        for body in subgraphs(node):
            check_names(body, path)


def subgraphs(node: Any) -> Iterator[Any]:
    """The onnx.GraphProto bodies of an If, Loop, Scan or similar node."""
    for attribute in node.attribute:
        if attribute.type in GRAPH_TYPES:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def dimensions(value_info: Any) -> tuple[int | None, ...] | None:
    """The shape that an onnx.ValueInfoProto declares, None for what is free; None where there is none that can be."""
    tensor = value_info.type.tensor_type
    if not tensor.HasField("shape") or len(tensor.shape.dim) > MAX_RANK:
        return None
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in tensor.shape.dim)


def walk_nodes(nodes: Any) -> Iterator[Any]:
    """All nodes, those of subgraphs included, in graph order."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from walk_nodes(graph.node)


def _check_expansion(model: Any, path: Path) -> None:
    """Refuse functions that call themselves, and those that would grow into millions of nodes."""
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(nodes: Any, above: frozenset[tuple[str, str]]) -> int:
        total = 0
        for node in walk_nodes(nodes):
            key = (node.domain, node.op_type)
            if key in above:
                raise InputError(f"{path}: its local function {node.op_type!r} calls itself")
            if len(above) > MAX_CALL_DEPTH:
                raise InputError(f"{path}: its local functions call each other more than {MAX_CALL_DEPTH} deep")
            if key in functions and key not in sizes:
                sizes[key] = size(functions[key].node, above | {key})
            total += sizes.get(key, 1)
        return total

    if len(functions) > 10_000 or size(model.graph.node, frozenset()) > MAX_INLINED_NODES:
        raise InputError(f"{path}: its local functions grow into more than {MAX_INLINED_NODES} nodes")


def _converted(model: Any) -> Any:
    """Inline functions of another operator set too: they have to be converted, which needs the type of every tensor."""
    from onnx import helper, inliner, shape_inference

    for tensor in model.graph.initializer:
        model.graph.value_info.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return inliner.inline_local_functions(shape_inference.infer_shapes(model), True)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
