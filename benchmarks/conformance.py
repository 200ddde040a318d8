"""Which norm of which module is recognised in what which exporter writes in which operator set.

    python -m benchmarks.conformance docs/conformance.md

Each module is exported in eval mode between two functions that no exporter fuses with it, many in one file. The result
is *right* where one layer of its kind, number of groups and eps is found and nothing else, *wrong* where one of another
kind is, and *missed* else; what an exporter cannot write is not counted. The written-out forms come from the tests.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from normdiag.graph import open_model
from normdiag.graph.importers.torch_export import torch_graph
from normdiag.records import Norm, NormLayer
from tests.graph.written.forms import FORMS, SHAPE, Written

ROWS, WAVE, VOLUME = (3, 30, 8), (3, 8, 30), (3, 8, 3, 4, 5)
HEAD = """Of {modules} modules in what each exporter writes, in {right} of {counted} cases ({share:.1f} %) the one norm
is found with its kind, groups and eps; in {wrong} a norm of another kind is claimed. A cell counts the operator sets
(of onnxruntime its levels of optimization); – stands for what an exporter cannot write.
`python -m benchmarks.conformance` writes this page, here with torch {torch} and onnxruntime {onnxruntime};
`tests/graph/written` has the forms that are written out, and what is no norm."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A module, what it normalizes, and what is to be found."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    kind: str
    groups: int | None = None
    eps: float | None = 1e-5


def modules() -> Iterator[Subject]:
    """torch's own norms, with and without their options."""
    for dims, shape in ((1, WAVE), (2, SHAPE), (3, VOLUME)):
        batch, instance = getattr(nn, f"BatchNorm{dims}d"), getattr(nn, f"InstanceNorm{dims}d")
        yield Subject(f"BatchNorm{dims}d", batch(8), shape, "batch_norm")
        yield Subject(f"BatchNorm{dims}d, no affine", batch(8, affine=False), shape, "batch_norm")
        yield Subject(f"InstanceNorm{dims}d", instance(8), shape, "instance_norm")
        yield Subject(f"InstanceNorm{dims}d, affine", instance(8, affine=True), shape, "instance_norm")
    for dims, shape in ((1, WAVE), (2, SHAPE)):
        batch, instance = getattr(nn, f"BatchNorm{dims}d"), getattr(nn, f"InstanceNorm{dims}d")
        known = instance(8, affine=True, track_running_stats=True)
        yield Subject(f"BatchNorm{dims}d, no statistics", batch(8, track_running_stats=False), shape, "batch_norm")
        yield Subject(f"InstanceNorm{dims}d with statistics", known, shape, "instance_norm")
    yield Subject("GroupNorm of single channels", nn.GroupNorm(8, 8), SHAPE, "group_norm", 8)
    yield Subject("BatchNorm1d of rows", nn.BatchNorm1d(8), (3, 8), "batch_norm")
    yield Subject("SyncBatchNorm", nn.SyncBatchNorm(8), SHAPE, "batch_norm")
    for affine in (True, False):
        said = "" if affine else ", no affine"
        yield Subject(f"LayerNorm{said}", nn.LayerNorm(8, elementwise_affine=affine), ROWS, "layer_norm")
        yield Subject(f"LayerNorm of two axes{said}", nn.LayerNorm((30, 8), 1e-5, affine), ROWS, "layer_norm")
        yield Subject(f"RMSNorm{said}", nn.RMSNorm(8, 1e-6, elementwise_affine=affine), ROWS, "rms_norm", eps=1e-6)
        yield Subject(f"GroupNorm{said}", nn.GroupNorm(2, 8, affine=affine), SHAPE, "group_norm", 2)
    yield Subject("LayerNorm, no bias", nn.LayerNorm(8, bias=False), ROWS, "layer_norm")
    yield Subject("GroupNorm of one group", nn.GroupNorm(1, 8), SHAPE, "group_norm", 1)
    yield Subject("GroupNorm of waves", nn.GroupNorm(4, 8), WAVE, "group_norm", 4)


def written() -> Iterator[Subject]:
    """The forms of the tests; an eps of theirs that stands elsewhere than torch's is not compared."""
    shapes = {"image": SHAPE, "rows": ROWS, "wave": WAVE}
    for form in FORMS:
        eps = None if form.outside or form.least or form.eps < 1e-9 else form.eps
        name = f"written: {form.name.replace('_', ' ')}"
        yield Subject(name, Written(form), shapes[form.layout], form.kind, form.groups, eps)


class Together(nn.Module):
    """Modules side by side, whose neighbours are no linear layers and whose inputs no reshape leads to."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({f"part{number}": each.module for number, each in enumerate(subjects)})

    def forward(self, *xs: Tensor) -> tuple[Tensor, ...]:
        """Each through one of them."""
        return tuple(torch.sigmoid(part(torch.sin(x))) for part, x in zip(self.parts.values(), xs, strict=True))


Found = list[NormLayer]
Inputs = tuple[Tensor, ...]
Export = Callable[[nn.Module, Inputs, Path], Found]


def onnx_file(model: nn.Module, xs: Inputs, path: Path, free: bool = False, **options: Any) -> Found:
    """What is found in the ONNX file that torch writes."""
    names = [f"x{number}" for number in range(len(xs))]
    sizes: dict[str, Any] = {}
    if free:
        axes = [
            {0: f"n{name}", **({x.dim() - 1: f"w{name}"} if x.dim() > 3 else {})}
            for name, x in zip(names, xs, strict=True)
        ]
        free_axes = {"dynamic_axes": dict(zip(names, axes, strict=True))}
        sizes = {"dynamic_shapes": {"xs": tuple(axes)}} if options["dynamo"] else free_axes
    torch.onnx.export(model, xs, str(path), input_names=names, verbose=False, **options, **sizes)
    return list(open_model(path).layers)


def through_onnxruntime(model: nn.Module, xs: Inputs, path: Path, level: str) -> Found:
    """What is left to be found once onnxruntime has optimized the file and written it again."""
    onnx_file(model, xs, path, dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(path.with_suffix(".ort.onnx"))
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return list(open_model(path.with_suffix(".ort.onnx")).layers)


def exported_program(model: nn.Module, xs: Inputs, _: Path, decomposed: bool) -> Found:
    """What is found in the graph of torch.export."""
    program = torch.export.export(model, xs)
    graph = torch_graph(program.run_decompositions() if decomposed else program)
    return [op.detail.layer for op in graph.ops if isinstance(op.detail, Norm)]


EXPORTERS: Mapping[str, Mapping[str, Export]] = {
    "torch.onnx, older": {
        str(opset): partial(onnx_file, dynamo=False, opset_version=opset) for opset in (9, 11, 13, 16, 17, 18, 20)
    },
    "older, free sizes": {
        str(opset): partial(onnx_file, free=True, dynamo=False, opset_version=opset) for opset in (11, 17)
    },
    "torch.onnx, newer": {
        str(opset): partial(onnx_file, dynamo=True, opset_version=opset) for opset in (18, 20, 21, 23)
    },
    "newer, optimize=False": {"20": partial(onnx_file, dynamo=True, optimize=False, opset_version=20)},
    "newer, free sizes": {"20": partial(onnx_file, free=True, dynamo=True, opset_version=20)},
    "onnxruntime": {
        level: partial(through_onnxruntime, level=f"ORT_ENABLE_{level.upper()}") for level in ("basic", "extended")
    },
    "torch.export": {
        "exported": partial(exported_program, decomposed=False),
        "decomposed": partial(exported_program, decomposed=True),
    },
}


def judged(subjects: Sequence[Subject], export: Export, folder: Path) -> Iterator[str]:
    """Of each subject: right, wrong, missed, or not exported. All in one file, where that fails in two, and so on."""
    model, xs = Together(subjects).eval(), tuple(torch.randn(each.shape) for each in subjects)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            found = by_subject(export(model, xs, folder / "model.onnx"), len(subjects))
    except Exception:  # whatever an exporter, or onnxruntime, raises
        half = len(subjects) // 2
        if not half:
            yield "not exported"
            return
        yield from judged(subjects[:half], export, folder)
        yield from judged(subjects[half:], export, folder)
        return
    yield from (verdict(each, layers) for each, layers in zip(subjects, found, strict=True))


def by_subject(layers: Found, count: int) -> list[Found]:
    """Which layers are whose, by their names. Raises ValueError where one of several has none that tells."""
    if count == 1:
        return [layers]
    names = [re.search(r"\bpart(\d+)\b", layer.name) for layer in layers]
    if None in names:
        raise ValueError("a layer has a name that does not say where it is")
    return [
        [layer for layer, name in zip(layers, names, strict=True) if name and int(name[1]) == i] for i in range(count)
    ]


def verdict(subject: Subject, found: Found) -> str:
    """right, wrong or missed."""
    if not found:
        return "missed"
    if any((layer.kind, layer.groups) != (subject.kind, subject.groups) for layer in found):
        return "wrong"
    right = len(found) == 1 and (subject.eps is None or abs((found[0].eps or 0.0) - subject.eps) <= 1e-3 * subject.eps)
    return "right" if right else "missed"


def trained(subjects: Iterable[Subject]) -> None:
    """Parameters and statistics that are not trivial: exporters leave out what does nothing."""
    torch.manual_seed(0)
    for subject in subjects:
        for name, tensor in subject.module.state_dict().items():
            if tensor.dtype.is_floating_point:
                tensor.uniform_(0.5, 1.5) if "var" in name or "weight" in name else tensor.normal_(0.0, 0.3)


def page() -> str:
    """The page of the docs."""
    logging.disable(logging.CRITICAL)
    subjects = [*modules(), *written()]
    trained(subjects)
    verdicts: dict[tuple[str, str], list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for exporter, versions in EXPORTERS.items():
            for version, export in versions.items():
                verdicts[exporter, version] = list(judged(subjects, export, Path(folder)))
                print(exporter, version, Counter(verdicts[exporter, version]), file=sys.stderr)
    total = Counter(each for column in verdicts.values() for each in column)
    rows = [f"| {each.name} | {' | '.join(cells(number, verdicts))} |" for number, each in enumerate(subjects)]
    failures = defaultdict[str, list[str]](list)
    for (exporter, version), column in verdicts.items():
        for subject, each in zip(subjects, column, strict=True):
            if each in ("wrong", "missed"):
                failures[f"{each}: {subject.name}"].append(f"{exporter} {version}")
    counted = total["right"] + total["wrong"] + total["missed"]
    return "\n".join(
        [
            "# Which norms are recognised",
            "",
            HEAD.format(
                modules=len(subjects),
                right=total["right"],
                counted=counted,
                share=100.0 * total["right"] / counted,
                wrong=total["wrong"],
                torch=torch.__version__.partition("+")[0],
                onnxruntime=onnxruntime.__version__,
            ),
            "",
            f"| module | {' | '.join(f'{name}: ' + ', '.join(each) for name, each in EXPORTERS.items())} |",
            f"|---|{'---|' * len(EXPORTERS)}",
            *rows,
            "",
            "Not right:" if failures else "",
            "",
            *(f"- {what}: {', '.join(where)}" for what, where in failures.items()),
        ]
    )


def cells(number: int, verdicts: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[str]:
    """Of one subject, for each exporter: right of written."""
    for exporter, versions in EXPORTERS.items():
        found = [verdicts[exporter, version][number] for version in versions]
        some = sum(each != "not exported" for each in found)
        yield f"{found.count('right')}/{some}" if some else "–"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page() + "\n", encoding="utf-8")
