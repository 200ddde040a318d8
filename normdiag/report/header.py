"""What was inspected: the file and the data."""

from __future__ import annotations

from normdiag.records import ModelInfo, Report
from normdiag.records.document import Phrase, Section, facts
from normdiag.report.words import count, shortened, size_in_bytes

FORMATS = {
    "torch-zip": "PyTorch file (torch.save)",
    "torch-legacy": "PyTorch file (torch.save, legacy)",
    "pickle": "bare pickle",
    "torchscript": "TorchScript",
    "torch-export": "torch.export",
    "aotinductor": "AOTInductor package",
    "onnx": "ONNX",
    "hugging-face": "Hugging Face checkpoint",
    "torch-distributed": "checkpoint of torch.distributed.checkpoint",
    "gguf": "GGUF",
}
RANDOM = "random data"


def header(report: Report) -> Section:
    """File, format, size, parameters and data; and whether the run was cut short."""
    rows = [*model_rows(report.model), ("data", _data(report))]
    if report.interrupted:
        rows.append(("stopped", Phrase(_interrupted(report), "caution")))
    return Section("", (facts(*rows),), opening=True)


def model_rows(model: ModelInfo) -> list[tuple[str, str | Phrase]]:
    """Path, format and size, as rows for `facts`."""
    return [
        ("model", Phrase(shortened(model.path) if model.path else "a module in memory", "strong")),
        ("format", shortened(_format(model))),
        ("size", _size(model)),
    ]


def _format(model: ModelInfo) -> str:
    name = FORMATS.get(model.format, model.format)
    if model.quantized is not None:
        name = f"{name} (quantized: {model.quantized})"
    if model.backend == "weights":
        return f"{name}, read for its weights alone (nothing of it was run)"
    return name if model.built is None else f"{name}, {model.built}"


def _size(model: ModelInfo) -> str:
    size = None if model.size_bytes is None else size_in_bytes(model.size_bytes)
    parameters = None if model.parameters is None else count(model.parameters, "parameter")
    return ", ".join(filter(None, (size, parameters)))


def _data(report: Report) -> str | Phrase:
    data = report.data
    if data is None and report.unused_data is not None:
        return Phrase(f"{shortened(report.unused_data)}, not used: nothing was run", "caution")
    if data is None:
        return "none: only what the file says is shown"
    amount = f"{count(data.samples, 'sample')} in {count(data.batches, 'batch')} of {data.batch_size:,}"
    preprocess = f"preprocess {shortened(data.preprocess)}" if data.preprocess else None
    if not data.random:
        return ", ".join(filter(None, (shortened(data.source), amount, preprocess)))
    return Phrase(f"{RANDOM.upper()}, {amount}: made up, so that no number below describes real inputs", "caution")


def _interrupted(report: Report) -> str:
    seen = count(report.data.samples, "sample") if report.data else "nothing"
    return f"interrupted: all below rests on the {seen} seen so far"
