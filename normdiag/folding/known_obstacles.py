"""What stands after a norm in transformers, by its usual name, where that says more than one operation does."""

from __future__ import annotations

from collections.abc import Iterator

from normdiag.folding.obstacle import Obstacle
from normdiag.folding.situation import Situation
from normdiag.records import Add, Concat, Linear, Op, ScaleShift, Split

# How many operations a router may have between its product and the choice of experts.
_NEAR = 5
_HANDED_ON = ("identity", "reshape", "transpose", "dropout")


def known_obstacle(situation: Situation, source: int) -> Obstacle | None:
    """Why the norm at `source` does not go into the layers after it: a rotary embedding, or a choice of experts."""
    tensor = situation.op(source).outputs[0]
    tensors = [tensor, *_handed_on(situation, tensor)]
    turned = next((op for each in tensors for op in _turned(situation, each)), None)
    if turned is not None:
        why = "the rotary embedding is between it and the product of queries and keys, and mixes channels"
        return Obstacle(f"{why} that are scaled differently", turned.name)
    router = next((op for each in tensors for op in _readers(situation, each) if _chooses(situation, op)), None)
    if router is not None:
        why = f"linear {router.name!r} reads it too and chooses experts by it, whose weights are picked by the data"
        return Obstacle(why, router.name)
    return None


def _handed_on(situation: Situation, tensor: str) -> Iterator[str]:
    """The same values in another layout."""
    for op in _readers(situation, tensor):
        if op.kind in _HANDED_ON and op.outputs[0]:
            yield op.outputs[0]
            yield from _handed_on(situation, op.outputs[0])


def _turned(situation: Situation, tensor: str) -> Iterator[Op]:
    """x * cos + cat(-x2, x1) * sin, where x1 and x2 are the halves of x (Su et al. 2021, 'RoFormer', section 3.4)."""
    products = {op.outputs[0]: op for op in _readers(situation, tensor) if op.operator == "mul"}
    for split in _readers(situation, tensor):
        if not isinstance(split.detail, Split):
            continue
        for total in _sums_of_exchanged(situation, split):
            if products.keys() & set(total.inputs):
                yield products[next(name for name in total.inputs if name in products)]


def _sums_of_exchanged(situation: Situation, split: Op) -> Iterator[Op]:
    """Sums with a product of the parts of a split, one of them negated, put together again."""
    negated = [
        op.outputs[0]
        for name in split.outputs
        for op in _readers(situation, name)
        if isinstance(op.detail, ScaleShift) and (op.detail.scale == -1).all()
    ]
    for name in negated:
        for whole in _readers(situation, name):
            if isinstance(whole.detail, Concat) and set(whole.inputs) <= {name, *split.outputs}:
                for product in _readers(situation, whole.outputs[0]):
                    yield from (op for op in _readers(situation, product.outputs[0]) if isinstance(op.detail, Add))


def _chooses(situation: Situation, op: Op) -> bool:
    """Whether the largest outputs of a linear layer are chosen soon after it."""
    if not isinstance(op.detail, Linear):
        return False
    tensors = set(op.outputs)
    for _ in range(_NEAR):
        after = [each for name in tensors for each in _readers(situation, name)]
        if any(each.operator == "topk" for each in after):
            return True
        tensors = {name for each in after if not isinstance(each.detail, Linear) for name in each.outputs if name}
    return False


def _readers(situation: Situation, tensor: str) -> list[Op]:
    return [situation.op(index) for index in situation.readers.get(tensor, ())]
