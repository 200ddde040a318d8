"""Which blocks stand together: a statement and what is said under it."""

from __future__ import annotations

from collections.abc import Sequence

from normdiag.records.document import Block, FindingGroup, Paragraph, Role, Space

TONES: dict[Role, str] = {
    "error": "error",
    "bad": "error",
    "warning": "warning",
    "caution": "warning",
    "good": "good",
    "passed": "good",
    "info": "info",
}


def grouped(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks without the spaces between them; one that is less deep than the one before begins a group, any first."""
    groups: list[list[Block]] = []
    for block in blocks:
        if isinstance(block, Space):
            continue
        if groups and _level(block) > 1:
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def role_of(block: Block) -> str:
    """The tone of a block: error, warning, good or info; empty for none."""
    if isinstance(block, FindingGroup):
        return block.severity
    if isinstance(block, Paragraph):
        return next((TONES[phrase.role] for phrase in block.phrases if phrase.role in TONES), "")
    return ""


def is_command(text: str) -> bool:
    """Whether a remedy is a command to paste and not a sentence, nor a command with one after a comma."""
    return text.startswith("normdiag ") and ", " not in text


def _level(block: Block) -> int:
    return block.level if isinstance(block, Paragraph | FindingGroup) else 1
