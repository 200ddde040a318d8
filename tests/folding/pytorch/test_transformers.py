"""Transformers of many architectures, each folded into one of its class and loaded again by transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="transformers is not installed")

from benchmarks.transformers import Row, rows
from benchmarks.transformers_memory import ALLOWED, SHAPES, measured
from benchmarks.transformers_models import MODELS

# Norms, how many of them are folded, of how many gamma alone is, and a word of every reason for the others.
EXPECTED: Mapping[str, tuple[int, int, int, set[str]]] = {
    "Llama": (5, 5, 0, set()),
    "Llama, tied": (5, 5, 0, set()),
    "Qwen2": (5, 5, 0, set()),
    "Qwen3": (9, 5, 0, {"rotary"}),
    "Gemma2": (9, 5, 0, {"added"}),
    "Gemma3": (13, 5, 0, {"added", "rotary"}),
    "Mistral": (5, 5, 0, set()),
    "GraniteMoe": (5, 3, 0, {"experts"}),
    "Phi": (3, 3, 0, set()),
    "OPT": (5, 5, 1, set()),
    "GPT-2": (5, 5, 1, set()),
    "BERT": (5, 1, 0, {"added"}),
    "ViT": (5, 5, 0, set()),
    "T5": (12, 10, 0, {"output", "also"}),
    "Whisper": (12, 11, 5, {"output"}),
    "ConvNeXt": (5, 4, 0, {"added"}),
}
QUICK = ("Llama, tied", "Gemma2", "Whisper")
SLOW = tuple(pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name not in QUICK)


def check(row: Row) -> None:
    norms, folded, alone, words = EXPECTED[row.model]
    plan, checked = row.report.plan, row.report.verification
    assert checked is not None and checked.passed
    assert (plan.norms, len(plan.steps), sum(step.shift_stays for step in plan.steps)) == (norms, folded, alone)
    assert len(plan.refusals) == norms - folded
    said = " ".join(refusal.reason for refusal in plan.refusals)
    assert all(word in said for word in words), said
    assert all(any(word in refusal.reason for word in words) for refusal in plan.refusals), said
    # Both ran in float64: what is left is the one rounding of the weights to float32.
    assert row.reloaded < checked.bound
    assert 0 < row.reloaded < 2e-6


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_folded_and_loaded_again(name: str) -> None:
    (row,) = rows([name], None)
    check(row)


def test_every_model_is_expected() -> None:
    assert EXPECTED.keys() == MODELS.keys()


@pytest.mark.slow
def test_memory_is_that_of_a_few_tensors(tmp_path: Path) -> None:
    """0.32 GB of weights, of which the largest tensor has 66 MB; the code alone takes 400 MB."""
    largest, peak, _ = measured(tmp_path / "made", SHAPES["small"], verify=False)
    assert peak < 3 * largest + ALLOWED
