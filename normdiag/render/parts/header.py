"""What was inspected: the file and the data."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.records import DataInfo, ModelInfo, Report
from normdiag.render.layout import Line, Span
from normdiag.render.parts.prose import pairs
from normdiag.render.view import View
from normdiag.render.words import count, size_in_bytes

FORMATS = {
    "torch-zip": "PyTorch file (torch.save)",
    "torch-legacy": "PyTorch file (torch.save, legacy)",
    "pickle": "bare pickle",
    "torchscript": "TorchScript",
    "torch-export": "torch.export",
    "aotinductor": "AOTInductor package",
    "onnx": "ONNX",
}
RANDOM = "random data"


def header(report: Report, view: View) -> Iterator[Line]:
    """File, format, size, parameters and data; and whether the run was cut short."""
    rows = [*model_rows(report.model, view), ("data", _data(report.data, view))]
    if report.interrupted:
        rows.append(("stopped", Span(_interrupted(report), "bold yellow")))
    yield (Span("normdiag inspect", "bold"),)
    yield from pairs([row for row in rows if row[1]], view)


def model_rows(model: ModelInfo, view: View) -> list[tuple[str, str | Span]]:
    """Path, format and size, as rows for `pairs`."""
    return [
        ("model", Span(view.safe(model.path) if model.path else "a module in memory", "bold")),
        ("format", view.safe(_format(model))),
        ("size", _size(model)),
    ]


def _format(model: ModelInfo) -> str:
    name = FORMATS.get(model.format, model.format)
    return f"{name}, read for its weights alone (nothing of it was run)" if model.backend == "weights" else name


def _size(model: ModelInfo) -> str:
    size = None if model.size_bytes is None else size_in_bytes(model.size_bytes)
    parameters = None if model.parameters is None else count(model.parameters, "parameter")
    return ", ".join(filter(None, (size, parameters)))


def _data(data: DataInfo | None, view: View) -> str | Span:
    if data is None:
        return "none: only what the file says is shown"
    amount = f"{count(data.samples, 'sample')} in {count(data.batches, 'batch')} of {data.batch_size:,}"
    preprocess = f"preprocess {view.safe(data.preprocess)}" if data.preprocess else None
    if not data.random:
        return ", ".join(filter(None, (view.safe(data.source), amount, preprocess)))
    return Span(f"{RANDOM.upper()}, {amount}: made up, so that no number below describes real inputs", "bold yellow")


def _interrupted(report: Report) -> str:
    seen = count(report.data.samples, "sample") if report.data else "nothing"
    return f"interrupted: all below rests on the {seen} seen so far"
