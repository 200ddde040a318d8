"""From raw calls to named normalizations and activations."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normdiag.models.pytorch.layers import class_name, named_modules, norm_kind
from normdiag.models.pytorch.torch_private import operators
from normdiag.observe.pytorch.activations import ACTIVATION_FUNCTIONS, ACTIVATION_MODULES, is_inplace, parse_activation
from normdiag.observe.pytorch.lookalikes import as_computed, lookalike_call
from normdiag.observe.pytorch.modes import seeing
from normdiag.observe.pytorch.norms import NATIVE_NORMS, NORM_FUNCTIONS, NormCall
from normdiag.observe.pytorch.passes import Listener
from normdiag.observe.pytorch.scope import Frame, ModuleScope
from normdiag.observe.pytorch.scripted import Disguises

aten = torch.ops.aten
Function = Callable[..., Any]
Arguments = tuple[Any, ...]
Keywords = Mapping[str, Any]

# Where the features of a tensor lie is told by what made it: axis 1 after these, the last axis after those.
_CHANNELS_FIRST = frozenset(
    {F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d, F.batch_norm}
    | {F.instance_norm, F.group_norm, torch.conv1d, torch.conv2d, torch.conv3d, torch.batch_norm, torch.group_norm}
    | {aten.convolution, aten._convolution, aten.conv1d, aten.conv2d, aten.conv3d, aten.mkldnn_convolution}
    | {aten.batch_norm, aten.native_batch_norm, aten.native_group_norm, aten.group_norm, aten.instance_norm}
)
_CHANNELS_LAST = frozenset(
    {F.linear, F.layer_norm, F.rms_norm, F.embedding, F.bilinear, F.scaled_dot_product_attention}
    | {F.multi_head_attention_forward, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm}
    | {torch.lstm, torch.gru, torch.layer_norm, torch.addmm}
    | {aten.linear, aten.addmm, aten.mm, aten.bmm, aten.matmul, aten.layer_norm, aten.native_layer_norm}
    | operators("embedding", "_fused_rms_norm", "rms_norm")
)
_BY_STRIDE = frozenset({torch.as_strided, Tensor.as_strided, aten.as_strided})


class LayoutError(Exception):
    """The model addresses memory by hand, so that it needs its input in the layout that it was written for."""


class Watcher:
    """Names what a model calls, and tells a listener, for the length of one forward.

    A call belongs to the innermost module that runs. A norm module gives its path to all its calls; an activation
    module too, with a number where one forward calls it again; a functional call has the path of the module that it is
    in, its kind and a number. TorchScript code, where modules do not show, is known by its parameters.
    """

    def __init__(self, model: nn.Module) -> None:
        """Take the names of a model's modules as they are now."""
        self._scope = ModuleScope(model)
        self._norms = {path: kind for path, module in named_modules(model) if (kind := norm_kind(module))}
        self.scripted = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
        self._busy = False
        self._last: tuple[str, Callable[[], Tensor | None]] = "", _nothing
        self._features_last: bool | None = None
        self._disguises = Disguises(1)

    def final_activation(self, outputs: Iterable[Tensor]) -> str | None:
        """The activation that ran last, if what it returned is one of the outputs of that forward."""
        name, reference = self._last
        result = reference()
        if result is None:
            return None
        return name if any(output.data_ptr() == result.data_ptr() for output in outputs) else None

    @contextmanager
    def watching(self, listener: Listener, samples: int, *, by_stride: bool) -> Iterator[None]:
        """Report to `listener` all that runs inside, on a batch of that many samples.

        LayoutError is raised for strides by hand, unless `by_stride`.
        """
        self._busy, self._features_last, self._disguises = False, None, Disguises(samples)
        self._last = "", _nothing

        def handle(key: Any, function: Function, args: Arguments, kwargs: Keywords) -> Any:
            if self._busy:
                return function(*args, **kwargs)
            if key in _BY_STRIDE and not by_stride:
                raise LayoutError
            self._busy = True
            try:
                return self._call(listener, key, function, args, kwargs)
            finally:
                self._busy = False

        def leave(frame: Frame, x: Tensor, output: Any) -> Any:
            self._busy = True
            try:
                return self._leave(listener, frame, x, output)
            finally:
                self._busy = False

        with self._scope.followed(leave), seeing(handle, scripted=self.scripted):
            yield

    def _call(self, listener: Listener, key: Any, function: Function, args: Arguments, kwargs: Keywords) -> Any:
        output = None
        if key in ACTIVATION_FUNCTIONS:
            output = self._activation(listener, key, function, args, kwargs)
        elif parser := NORM_FUNCTIONS.get(key) or NATIVE_NORMS.get(key):
            output = self._norm(listener, parser, args, kwargs)
        if key in _CHANNELS_FIRST or key in _CHANNELS_LAST:
            self._features_last = key in _CHANNELS_LAST
        if output is None:
            output = function(*args, **kwargs)
            self._disguises.note(key, args, output)
            if key in ACTIVATION_FUNCTIONS and isinstance(output, Tensor):
                self._last = self._last[0], weakref.ref(output)
            return output
        return (output, output.new_empty(0), output.new_empty(0)) if key in NATIVE_NORMS else output

    def _norm(self, listener: Listener, parse: Callable[..., NormCall], args: Arguments, kw: Keywords) -> Tensor | None:
        """The output to use in place of the function's, or None."""
        try:
            plain = parse(*args, **kw)
            call = self._disguises.undone(plain)
            known = call.well_formed and not self._of_a_weight(call)
        except (TypeError, AttributeError):  # wrong arguments: the function itself says so best
            return None
        output = listener.norm(self._norm_name(call), call) if known else None
        if call is not plain:
            return None
        return call.without_update() if output is None and call.updates else output

    def _of_a_weight(self, call: NormCall) -> bool:
        """Whether a module standardizes its own weight, as the convolutions of BiT do: no norm of what runs through."""
        module = self._scope.frame.module
        if module is None or not call.batch_statistics or call.has_statistics or self._scope.frame.path in self._norms:
            return False
        return any(call.input.data_ptr() == own.data_ptr() for own in module.parameters(recurse=False))

    def _norm_name(self, call: NormCall) -> str:
        frame = self._scope.frame
        owner = frame.path if frame.path in self._norms else self._scope.owner(call.running_mean, call.weight)
        if owner is None:
            return frame.functional(call.kind)
        frame.normalized |= owner == frame.path
        return owner or class_name(frame.module) if frame.module is not None else owner

    def _activation(
        self, listener: Listener, key: Any, function: Function, args: Arguments, kwargs: Keywords
    ) -> Tensor | None:
        """The output, where the listener has run the activation itself, in place."""
        parsed = parse_activation(ACTIVATION_FUNCTIONS[key], args, kwargs)
        if parsed is None:
            return None
        frame = self._scope.frame
        activation, x = parsed
        if isinstance(frame.module, ACTIVATION_MODULES):
            name = self._scope.caller.numbered(frame.path or class_name(frame.module))
        else:
            name = frame.functional(activation.kind)
        run = None
        if args and is_inplace(key, args, kwargs):
            run = functools.partial(_on_tile, function, args[1:], kwargs)
        self._last = name, weakref.ref(x)
        return x if listener.activation(name, activation, x, self._unit_axis(x), run) else None

    def _unit_axis(self, x: Tensor) -> int:
        if x.dim() <= 2:
            return 1
        last = x.dim() == 3 if self._features_last is None else self._features_last
        return -1 if last else 1

    def _leave(self, listener: Listener, frame: Frame, x: Tensor, output: Any) -> Any:
        """A norm module that ran without calling any known function: a look-alike, seen by its input and output."""
        if frame.module is None or frame.normalized or frame.path not in self._norms:
            return None
        call = lookalike_call(frame.module, self._norms[frame.path], x)
        if call is None or not call.well_formed or x._version != frame.version:
            return None
        name = frame.path or class_name(frame.module)
        replaced = listener.norm(name, call)
        computed = None if replaced is None else as_computed(call, output)
        if computed is None:
            return None
        replaced = replaced if computed is call else listener.norm(name, computed)
        return None if replaced is None else replaced.to(output.dtype)


def _nothing() -> None:
    """Like a reference to a tensor that is gone."""


def _on_tile(function: Function, rest: Arguments, kwargs: Keywords, tile: Tensor) -> None:
    function(tile, *rest, **kwargs)
