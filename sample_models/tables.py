"""The measured tables of the README, between their markers."""

from __future__ import annotations

import re
from pathlib import Path

from sample_models import catalogue, digits, net


def write(folder: Path) -> None:
    """Measure every sample and put both tables into the folder's README.md."""
    readme = folder / "README.md"
    text = readme.read_text()
    for marker, table in (("samples", sample_table(folder)), ("saturation", saturation_table(folder))):
        text = replace(text, marker, table)
    readme.write_text(text)


def replace(text: str, marker: str, table: str) -> str:
    """The text with what stands between `<!-- marker -->` and `<!-- /marker -->` replaced."""
    pattern = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    return pattern.sub(lambda match: match[1] + table + match[2], text)


def sample_table(folder: Path) -> str:
    """One row for each sample, with its accuracy on the validation images."""
    lines = ["| File | What it is | Right, % | What it shows | Command |", "|---|---|---|---|---|"]
    for sample in catalogue.SAMPLES:
        right = f"{catalogue.accuracy(sample, folder):.1f}"
        lines.append(f"| {sample.file} | {sample.what} | {right} | {sample.shows} | `{sample.command}` |")
    return "\n".join(lines) + "\n"


def saturation_table(folder: Path) -> str:
    """Saturated share and mean squared derivative of each hidden layer of the perceptrons, by training step."""
    lines = [
        "| Step | BatchNorm | Right, % | Saturated, %, layers 1, 2, 3 | Mean squared derivative, layers 1, 2, 3 |",
        "|---|---|---|---|---|",
    ]
    x, _ = digits.load(folder / digits.VALIDATION)
    for sample in catalogue.SAMPLES:
        if sample.arch == "DigitsMLP":
            model = catalogue.load_weights(sample, folder / sample.file)
            assert isinstance(model, net.DigitsMLP)
            lines.append(saturation_row(sample, catalogue.accuracy(sample, folder), catalogue.saturation(model, x)))
    return "\n".join(lines) + "\n"


def saturation_row(sample: catalogue.Sample, right: float, layers: list[tuple[float, float]]) -> str:
    """One row: the step is the last part of the file's name."""
    step = int(sample.file.removesuffix(".pt").rsplit("_", 1)[1])
    saturated = ", ".join(f"{100 * share:.2f}" for share, _ in layers)
    derivative = ", ".join(f"{square:.5f}" for _, square in layers)
    return f"| {step} | {'with' if sample.norm == 'batch' else 'without'} | {right:.1f} | {saturated} | {derivative} |"
