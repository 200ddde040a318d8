"""Tiny transformers of many architectures, each folded into one of its class and loaded again by transformers.

    python -m benchmarks.transformers                                        # the table
    python -m benchmarks.transformers docs/transformers.md                   # written into the page, between its marks
    python -m benchmarks.transformers docs/transformers.md --llmcompressor FOLDER

The last compares with llm-compressor's own functions for fusing norms, which do without a GPU: FOLDER is made by
`pip install --no-deps --target FOLDER llmcompressor compressed-tensors loguru pydantic pydantic-core annotated-types
typing-inspection psutil`.
"""

from __future__ import annotations

import re
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

import normdiag
from benchmarks.transformers_models import MODELS, example, saved
from normdiag.records import FoldReport, Refusal

BEGIN, END = "<!-- benchmarks.transformers -->", "<!-- end -->"
HEAD = "| model | norms | folded | error / bound, verified | loaded again, float64 | Llama's recipe | not folded |"
Fuse = Callable[[Any], None]


@dataclass(frozen=True)
class Row:
    """One model: its fold, how far the folder's outputs are from the original's once loaded again, and the recipe's."""

    model: str
    report: FoldReport
    reloaded: float
    recipe: str

    def text(self) -> str:
        """A line of the table."""
        plan, checked = self.report.plan, self.report.verification
        assert checked is not None
        alone = sum(step.shift_stays for step in plan.steps)
        done = f"{len(plan.steps)}" + (f" ({alone} of gamma alone)" if alone else "")
        errors = f"{checked.error:.1e} / {checked.bound:.1e}"
        cells = (self.model, plan.norms, done, errors, f"{self.reloaded:.0e}", self.recipe, _reasons(plan.refusals))
        return f"| {' | '.join(map(str, cells))} |"


def rows(names: Sequence[str], fuse: Fuse | None) -> Iterator[Row]:
    """Each model made, folded, loaded again and compared."""
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            source, target = Path(place) / "model", Path(place) / "folded"
            kind = saved(name, source)
            report = normdiag.fold(source, output=target, norms=("layer",)).report
            reloaded = difference(kind, source, partial(kind.from_pretrained, target))
            yield Row(name, report, reloaded, _recipe(kind, source, fuse))


def difference(kind: Any, source: Path, other: Callable[[], Any]) -> float:
    """max|difference| of the logits over max|logits|, in float64 where the model has that, else in float32."""
    found = []
    for made in (lambda: kind.from_pretrained(source), other):
        module = made().eval()
        given = example(module.config, kind.main_input_name)
        for dtype in (torch.float64, torch.float32):
            module.to(dtype)
            cast = {key: each.to(dtype) if each.is_floating_point() else each for key, each in given.items()}
            try:
                with torch.no_grad():
                    found.append(module(**cast).logits.double())
                break
            except RuntimeError:  # the experts of a mixture, which are multiplied in float32 at most
                continue
    return float((found[0] - found[1]).abs().max() / found[0].abs().max())


def _recipe(kind: Any, source: Path, fuse: Fuse | None) -> str:
    """How far a model is from itself after the recipe that llm-compressor has for all but one architecture."""
    if fuse is None:
        return ""

    def fused() -> Any:
        module = kind.from_pretrained(source)
        fuse(module)
        return module

    try:
        error = difference(kind, source, fused)
    except Exception as problem:
        return f"fails: {type(problem).__name__}"
    return "nothing matches" if error == 0 else f"{error:.0e}"


def llm_compressor(folder: str) -> Fuse:
    """llm-compressor's own functions, without what its packages import besides: data sets and CUDA's tools."""
    sys.path.insert(0, folder)
    for name in ("", ".modeling", ".modifiers", ".modifiers.transform", ".modifiers.transform.spinquant", ".utils"):
        shell: Any = types.ModuleType(f"llmcompressor{name}")
        shell.__path__ = [str(Path(folder) / f"llmcompressor{name}".replace(".", "/"))]
        sys.modules[shell.__name__] = shell
    sys.modules["llmcompressor.utils"].get_high_precision = lambda: torch.float64  # type: ignore[attr-defined]
    from compressed_tensors.utils import match_modules_set
    from llmcompressor.modeling.fuse import fuse_norm_linears
    from llmcompressor.modifiers.transform.spinquant.norm_mappings import infer_norm_mapping_from_model
    from torch.utils import _pytree

    def fuse(model: Any) -> None:
        head, embedded = model.get_output_embeddings(), model.get_input_embeddings()
        if head is not None and getattr(embedded, "weight", None) is head.weight:  # as its SpinQuant does it first
            head.weight = torch.nn.Parameter(head.weight.detach().clone())
        with torch.no_grad():
            for mapping in infer_norm_mapping_from_model(model):
                for norm, *linears in match_modules_set(model, (mapping.norm, *mapping.linears)):
                    fuse_norm_linears(norm[0], _pytree.tree_leaves(linears))

    return fuse


def _reasons(refusals: Sequence[Refusal]) -> str:
    """Each reason once, with how many norms it keeps, without the names of one layer among many."""
    counts: dict[str, int] = {}
    for refusal in refusals:
        name = re.sub(r"\.\d+\.", ".N.", refusal.norm)
        reason = re.sub(r"\.\d+\.", ".N.", re.sub(r"_\d+\b", "", refusal.reason)).replace("'", "`")
        counts[f"`{name}`: {reason}"] = counts.get(f"`{name}`: {reason}", 0) + 1
    return "; ".join(f"{count} × {reason}" for reason, count in counts.items())


def main(arguments: list[str]) -> None:
    """Print the table, or write it into a page."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    fuse = None
    if "--llmcompressor" in arguments:
        at = arguments.index("--llmcompressor")
        fuse = llm_compressor(arguments[at + 1])
        del arguments[at : at + 2]
    lines = [HEAD, "|---" * HEAD.count(" | ") + "|---|"]
    for row in rows(list(MODELS), fuse):
        lines.append(row.text())
        print(lines[-1], file=sys.stderr)
    table = "\n".join(lines)
    if not arguments:
        print(table)
        return
    page = Path(arguments[0])
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
