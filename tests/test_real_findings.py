"""Exactly what is found on third-party models, as reviewed by hand in goldens/real_findings.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import normdiag
from normdiag.render.json import finding_dict

Row = Mapping[str, Any]
GOLDEN: Mapping[str, Sequence[Row]] = json.loads(
    (Path(__file__).parent / "goldens" / "real_findings.json").read_text(encoding="utf-8")
)
MODELS = (".th", ".pt", ".pth", ".tar", ".onnx", ".safetensors")


def key(row: Row) -> tuple[object, ...]:
    return row["rule"], row["severity"], row["layer"]


@pytest.mark.parametrize("file", GOLDEN)
def test_the_findings_are_those_that_were_reviewed(file: str, real: Callable[[str], Path]) -> None:
    findings = [finding_dict(finding) for finding in normdiag.inspect(real(file)).findings]
    assert [key(finding) for finding in findings] == [key(row) for row in GOLDEN[file]]
    for finding, row in zip(findings, GOLDEN[file], strict=True):
        assert {name: finding["evidence"][name] for name in row["evidence"]} == row["evidence"], key(row)


def test_every_model_of_the_folder_was_reviewed(real: Callable[[str], Path]) -> None:
    folder = real("README.md").parent
    models = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in MODELS}
    assert models == set(GOLDEN)


def test_every_line_is_justified() -> None:
    assert all(len(row["why"]) > 40 and row["evidence"] for rows in GOLDEN.values() for row in rows)


def test_no_published_model_has_an_error() -> None:
    assert not [row for rows in GOLDEN.values() for row in rows if row["severity"] == "error"]


@pytest.mark.parametrize(
    ("file", "below"),
    [("edgenets/espnetv2_s_0.5_pascal_256x256.pth", 158), ("ultraface/version-slim-320.onnx", 263)],
)
def test_the_published_counts_are_in_the_golden(file: str, below: int) -> None:
    assert sum(row["evidence"]["below_eps"] for row in GOLDEN[file] if row["rule"] == "ND103") == below
