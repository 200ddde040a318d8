"""onnxruntime after one small class: quiet, and with errors in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from normdiag.errors import InputError, UsageError
from normdiag.models.freed_memory import give_back_freed
from normdiag.observe.onnx.giants import refuse_giants
from normdiag.observe.onnx.ort import import_onnxruntime
from normdiag.observe.onnx.stoppable import Caller
from normdiag.observe.onnx.weights import kernels, tensors_read

Array = NDArray[Any]
Values = Mapping[str, Array]
_PROVIDER = "ExecutionProvider"
_CPU = "CPUExecutionProvider"
# It gives convolutions another layout and puts the ways back from it, for whatever is watched, last in the order of
# execution: every map then stays until the end. What it saves in time, these ways back cost again, but for small maps.
_LAYOUT = "NchwcTransformer"
# Bytes of input up to which all maps together are of no account: ResNets have some 65 times as much in theirs.
LITTLE = 1 << 19
_AS_ASKED = {"max_mem": 0, "arena_extend_strategy": 1}
UNOPTIMIZED = "run with onnxruntime's optimizations off, since with them it refused the model: "
_FATAL = 4  # onnxruntime's least talkative level; its errors reach us as exceptions anyway
_BOILERPLATE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/\S*?/onnxruntime/\S+:\d+ \S+ |Status Message: ")


_UNKNOWN = re.compile(r"Fatal error: (?P<domain>\S+):(?P<name>\w+)\(-?\d+\) is not a registered function/op")


@dataclass(frozen=True)
class TensorType:
    """Element type as onnxruntime spells it, 'tensor(float)', and the rank, None where it is not known."""

    element: str
    rank: int | None


@dataclass(frozen=True, eq=False)
class Setting:
    """What all sessions of a model share: the folder of its external data, the weights that were taken out of the graph
    (onnxruntime.OrtValue by name), and how error messages begin. `lean`: weights stay mapped from their files, slower.
    `provider` is where it runs, as cuda; None is the CPU.
    """

    folder: Path
    where: str
    weights: Mapping[str, Any]
    lean: bool = False
    provider: str | None = None


class Session:
    """A model ready to run. `note` says where onnxruntime could only make it so without its optimizations."""

    def __init__(self, proto: Any, setting: Setting, *, optimize: bool = True, little: bool = False) -> None:
        """`little`: it will see no more than LITTLE bytes of input. Raises InputError where onnxruntime refuses it."""
        self.little = little
        self._where, self._call = setting.where, Caller()
        self._weights = setting.weights  # onnxruntime reads some of them where they are
        self.note: str | None = None
        refuse_giants(proto.graph, setting.where)
        providers = execution_providers(setting.provider)
        try:
            self._session = self._made(proto, setting, providers, optimize, little)
        except Exception as error:  # onnxruntime's exceptions have no common base
            if not optimize:
                raise InputError(f"{self._where}: onnxruntime cannot run this model: {one_line(error)}") from None
            self.note = f"{UNOPTIMIZED}{one_line(error)}"
        if self.note is not None:
            self._session = Session(proto, setting, optimize=False)._session
        give_back_freed()  # it has copied the weights meanwhile
        if providers[0] not in self._session.get_providers():
            raise UsageError(f"--provider {setting.provider}: onnxruntime has it, and could not start it here")

    def _made(self, proto: Any, setting: Setting, providers: list[str], optimize: bool, little: bool) -> Any:
        options = _options(setting, optimize, proto.graph)
        build = import_onnxruntime().InferenceSession
        left_out = [] if little else [_LAYOUT]
        make = partial(build, proto.SerializeToString(), options, providers=providers, disabled_optimizers=left_out)
        return self._call(make, _cannot_stop)

    def run(self, names: Sequence[str], feed: Values) -> dict[str, Array]:
        """The named outputs. Raises InputError where the run fails."""
        options = import_onnxruntime().RunOptions()
        options.log_severity_level = _FATAL
        wanted, given = list(names), dict(feed)
        try:
            values = self._call(lambda: self._session.run(wanted, given, options), partial(_terminate, options))
            return dict(zip(wanted, values, strict=True))
        except Exception as error:
            reason = f"{one_line(error)}{self._open_sizes(given)}"
            raise InputError(f"{self._where}: onnxruntime failed on this data: {reason}") from None

    def _open_sizes(self, given: Values) -> str:
        """Of the first input whose samples may have any size, by what the model declares, what to do where it fails."""
        for each in self._session.get_inputs():
            first, *sizes = each.shape or [0]
            if each.name in given and not isinstance(first, int) and not all(isinstance(size, int) for size in sizes):
                shape = " x ".join(str(size) for size in given[each.name].shape[1:])
                return (
                    f"; the model leaves the size of '{each.name}' open, which was {shape} in this data: where it takes"
                    f" another, give such data (recordings are cut to --input-shape, as {each.name}=512)"
                )
        return ""

    def types(self) -> dict[str, TensorType]:
        """What is known of every input and output of the graph."""
        known = (*self._session.get_inputs(), *self._session.get_outputs())
        return {each.name: TensorType(each.type, len(each.shape) or None) for each in known}


def is_little(feed: Values) -> bool:
    """Whether a feed has no more than LITTLE bytes."""
    return sum(value.nbytes for value in feed.values()) <= LITTLE


def execution_providers(name: str | None) -> list[str]:
    """onnxruntime's names for a provider called as cuda, coreml or tensorrt, and for the CPU, which does the rest.

    Raises UsageError where the onnxruntime that is installed has no such provider.
    """
    if name is None or name.lower() == "cpu":
        return [_CPU]
    available = {each.removesuffix(_PROVIDER).lower(): each for each in import_onnxruntime().get_available_providers()}
    found = available.get(name.lower().removesuffix(_PROVIDER.lower()))
    if found is None:
        remedy = "; onnxruntime-gpu brings cuda" if name.lower() == "cuda" else ""
        raise UsageError(f"--provider {name}: the onnxruntime that is installed has {', '.join(available)}{remedy}")
    return [found, _CPU]


def _terminate(options: Any) -> None:
    """Have the run end before its next node."""
    options.terminate = True


def _cannot_stop() -> None:
    """Nothing ends the making of a session, which has no loops: it is given up where it takes too long."""


def one_line(error: BaseException) -> str:
    """The first telling line of an onnxruntime error, without its boilerplate, at most 300 characters."""
    text = " ".join(str(error).split())
    unknown = _UNKNOWN.search(text)
    if unknown is not None:
        return f"it does not know the operator {unknown['name']} of {unknown['domain']}"
    return _BOILERPLATE.sub("", text)[:300].strip()


def _options(setting: Setting, optimize: bool, graph: Any) -> Any:
    ort, read = import_onnxruntime(), tensors_read(graph)
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    # In file order: what is watched is summed as soon as it is there. The default order keeps it all until the end.
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    # A pattern is one more block as large as all tensors together, beside the arena of the first run.
    options.enable_mem_pattern = False
    folder = str(setting.folder.resolve())
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    if _shared_arena():
        options.add_session_config_entry("session.use_env_allocators", "1")
    if setting.lean:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    weights = {name: value for name, value in setting.weights.items() if name in read}  # it refuses superfluous ones
    if weights:
        options.add_external_initializers(list(weights), list(weights.values()))
    for name in kernels(graph) & weights.keys():
        options.add_initializer(name, weights[name])  # no copy of it for each session
    return options


@cache
def _shared_arena() -> bool:
    """One arena for all sessions of this process: passes run in turn, and the next reuses what the last one freed.

    It grows by what is asked for: by default it doubles, and large tensors then leave holes as large as themselves.
    """
    ort = import_onnxruntime()
    try:
        memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg(_AS_ASKED))
    except Exception:  # whoever embeds us has registered one already, which does as well
        return False
    return True


def tensor_types(proto: Any, names: Sequence[str], setting: Setting) -> dict[str, TensorType]:
    """Types and ranks of tensors anywhere in the main graph, inferred by onnxruntime itself without running anything.

    Raises InputError where onnxruntime cannot run the model at all: an unknown operator, types that do not fit.
    """
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    present = {value.name for value in (*probe.graph.input, *probe.graph.output)}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in present)
    return Session(probe, setting, optimize=False).types()
