"""All that is chosen of one tensor along one axis is one Op, so that each part gets its share, as with a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from normdiag.graph.importers.torch_export.program import AnchoredOp, Program
from normdiag.graph.recognise.choices import together
from normdiag.records.ops import Pass, Split, Take


def choices_joined(drafts: Sequence[AnchoredOp], program: Program) -> list[AnchoredOp]:
    """The drafts with every such choice as one, where the first of its parts stood.

    `x[:, :2]` is exported with a slice in front that takes all of the first axis: it belongs to the part.
    """
    makers = {name: draft for draft in drafts for name in draft.outputs if name}
    found: dict[tuple[str, int, bool], list[tuple[AnchoredOp, ...]]] = {}
    for draft in drafts:
        if isinstance(draft.detail, Take):
            ahead = _ahead(draft, makers, program)
            source = (ahead[-1] if ahead else draft).inputs[0]
            found.setdefault((source, draft.detail.axis, draft.detail.removed), []).append((draft, *ahead))
    together = [members for members in found.values() if len(members) > 1]
    inside = {id(draft): members for members in together for part in members for draft in part}
    done: set[int] = set()
    result: list[AnchoredOp] = []
    for draft in drafts:
        members = inside.get(id(draft))
        if members is None:
            result.append(draft)
        elif id(members) not in done:
            done.add(id(members))
            result.append(_joined(members, program))
    return result


def _ahead(draft: AnchoredOp, makers: Mapping[str, AnchoredOp], program: Program) -> tuple[AnchoredOp, ...]:
    """What hands the data on unchanged to this draft alone, from the nearest on."""
    found: list[AnchoredOp] = []
    while True:
        maker = makers.get((found[-1] if found else draft).inputs[0])
        if maker is None or not isinstance(maker.detail, Pass) or maker.detail.keep is not None:
            return tuple(found)
        if len(maker.outputs) != 1 or len(program.readers(maker.nodes[-1])) != 1:
            return tuple(found)
        found.append(maker)


def _joined(members: Sequence[tuple[AnchoredOp, ...]], program: Program) -> AnchoredOp:
    takes = [part[0] for part in members]
    choices = [choice for take in takes for choice in _choices(take)]
    inputs = members[0][-1].inputs
    sizes = program.sizes(inputs[0])
    outputs, detail = together(choices, None if sizes is None else sizes[choices[0][1].axis].known)
    return replace(
        takes[0],
        kind="split" if isinstance(detail, Split) else "other",
        detail=detail,
        inputs=inputs,
        outputs=outputs,
        nodes=tuple(node for part in members for draft in part for node in draft.nodes),
    )


def _choices(draft: AnchoredOp) -> Iterator[tuple[str, Take]]:
    take = draft.detail
    assert isinstance(take, Take)
    for name, picks in zip(draft.outputs, take.picks, strict=True):
        yield name, replace(take, picks=(picks,))
