"""onnxruntime behind one small class: quiet, and with errors in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from normdiag.errors import InputError

Array = NDArray[Any]
Values = Mapping[str, Array]
_FATAL = 4  # onnxruntime's least talkative level; its errors reach us as exceptions anyway
_BOILERPLATE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/\S*?/onnxruntime/\S+:\d+ \S+ |Status Message: ")


@dataclass(frozen=True)
class TensorType:
    """Element type as onnxruntime spells it, 'tensor(float)', and the rank, None where it is not known."""

    element: str
    rank: int | None


class Session:
    """A model ready to run on the CPU. `where` begins every error message."""

    def __init__(self, proto: Any, folder: Path, where: str, *, optimize: bool = True) -> None:
        """Raises InputError where onnxruntime refuses the model."""
        ort = _onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder.resolve()))
        if not optimize:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.where = where
        try:
            self._session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise InputError(f"{where}: onnxruntime cannot run this model: {one_line(error)}") from None

    def run(self, names: Sequence[str], feed: Values) -> dict[str, Array]:
        """The named outputs. Raises InputError where the run fails."""
        options = _onnxruntime().RunOptions()
        options.log_severity_level = _FATAL
        try:
            return dict(zip(names, self._session.run(list(names), dict(feed), options), strict=True))
        except Exception as error:
            raise InputError(f"{self.where}: onnxruntime failed on this data: {one_line(error)}") from None

    def types(self) -> dict[str, TensorType]:
        """What is known of every input and output of the graph."""
        known = (*self._session.get_inputs(), *self._session.get_outputs())
        return {each.name: TensorType(each.type, len(each.shape) or None) for each in known}


def one_line(error: BaseException) -> str:
    """The first telling line of an onnxruntime error, without its boilerplate, at most 300 characters."""
    text = " ".join(str(error).split())
    return _BOILERPLATE.sub("", text)[:300].strip()


def _onnxruntime() -> Any:
    # Without this, onnxruntime writes a device id into the user's home folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def tensor_types(proto: Any, names: Sequence[str], folder: Path, where: str) -> dict[str, TensorType]:
    """Types and ranks of tensors anywhere in the main graph, inferred by onnxruntime itself without running anything.

    Raises InputError where onnxruntime cannot run the model at all: an unknown operator, types that do not fit.
    """
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    present = {value.name for value in (*probe.graph.input, *probe.graph.output)}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in present)
    return Session(probe, folder, where, optimize=False).types()
