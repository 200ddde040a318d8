"""Random small networks, drawn without a framework: lists of parts that read earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

MOST_NORMS = 5
SAME = (
    "identity",
    "dropout",
    "average",
    "turn",
    "fold_positions",
    "shuffle",
    "reverse",
    "pixels",
    "max",
    "counted_average",
    "spread",
    "twice",
)


@dataclass(frozen=True)
class Part:
    """One operation: what it reads (indexes), the shape of its output without the batch, and its options."""

    kind: str
    reads: tuple[int, ...]
    shape: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        return self.shape[0]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["options"][name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True)
class Network:
    """Parts in an order in which they run; `outputs` are the indexes of what is returned; `seed` is for the values."""

    parts: tuple[Part, ...]
    outputs: tuple[int, ...]
    seed: int

    @property
    def norms(self) -> list[int]:
        return [index for index, part in enumerate(self.parts) if part.kind == "norm"]

    @property
    def wild(self) -> bool:
        """Whether it has parts that `count.foldable` cannot judge."""
        odd = any(part.kind in ("scale", "shift", "instance") for part in self.parts)
        return odd or any(self.parts[norm].gamma == "zero" for norm in self.norms)

    @property
    def all_positive(self) -> bool:
        """Whether no norm has a scale of zero or below."""
        return all(self.parts[norm].gamma == "positive" for norm in self.norms)

    def __str__(self) -> str:
        rows = (f"{i}: {p.kind} {list(p.reads)} -> {p.shape} {dict(p.options)}" for i, p in enumerate(self.parts))
        return "\n".join((*rows, f"outputs {self.outputs}, seed {self.seed}"))


class _Draft:
    def __init__(self, draw: Any, wild: bool) -> None:
        self.draw, self.wild = draw, wild
        self.parts: list[Part] = []
        self.outputs: list[int] = []
        self.norms = 0

    def add(self, kind: str, *reads: int, shape: tuple[int, ...] | None = None, **options: Any) -> int:
        shape = shape or self.parts[reads[0]].shape
        self.parts.append(Part(kind, reads, shape, options))
        return len(self.parts) - 1

    def chance(self, share: float) -> bool:
        return bool(self.draw(st.integers(0, 99)) < 100 * share)

    def linear(self, x: int, outputs: int, *, same_size: bool = True) -> int:
        shape = self.parts[x].shape
        bias, shared = self.chance(0.5), self.chance(0.15)
        if len(shape) == 1:
            form = self.draw(st.sampled_from(("gemm", "matmul_add", "matmul")))
            return self.add("linear", x, shape=(outputs,), form=form, bias=bias, shared=shared, padded=False)
        kernel, padded = self.draw(st.sampled_from(((1, False), (3, True), (1, False), (3, same_size))))
        if not padded and kernel > min(shape[1:]):
            kernel, padded = 1, False
        lost = 0 if padded else kernel - 1
        size = tuple(n - lost for n in shape[1:])
        up = self.chance(0.2) and (padded or kernel == 1)
        groups = self.draw(st.sampled_from((1, 1, 2, shape[0])))
        groups = groups if shape[0] % groups == 0 and outputs % groups == 0 else 1
        options = {"kernel": kernel, "padded": padded, "groups": groups, "bias": bias, "shared": shared}
        return self.add("linear", x, shape=(outputs, *size), form="up" if up else "conv", **options)

    def norm(self, x: int) -> int:
        if self.norms >= MOST_NORMS:
            return self.add("act", x, form="relu")
        self.norms += 1
        gamma = self.draw(st.sampled_from(("positive", "positive", "mixed", "zero" if self.wild else "positive")))
        decomposed = self.chance(0.2) and self.alone(x) and len(self.parts[x].shape) == 3 and self.parts[x].channels > 1
        return self.add("norm", x, gamma=gamma, shift=not self.chance(0.2), decomposed=decomposed)

    def alone(self, x: int) -> bool:
        """Whether a decomposed norm may follow: two in a row would be one chain of arithmetic, and so one norm."""
        return not self.parts[x].options.get("decomposed") and self.parts[x].kind not in (
            "scale",
            "shift",
            "number",
            "twice",
        )

    def simple(self, x: int) -> int:
        """Something that keeps the shape."""
        shape = self.parts[x].shape
        kinds = ["norm"] * 6 + ["act"] * 2 + ["tap", "number", "linear", "linear", "linear"]
        kinds += list(SAME) if len(shape) == 3 else ["identity", "dropout"]
        kinds += ["scale", "shift"] * 2 + (["instance"] if len(shape) == 3 else []) if self.wild else []
        kind = self.draw(st.sampled_from(kinds))
        if kind == "norm":
            return self.norm(x)
        if kind == "linear":
            return self.linear(x, shape[0])
        if kind == "act":
            return self.add("act", x, form=self.draw(st.sampled_from(("relu", "sigmoid", "tanh"))))
        if kind == "tap":
            self.outputs.append(x if self.chance(0.5) else self.add("act", x, form="relu"))
            return x
        if kind in ("number", "twice"):
            options = {"form": self.draw(st.sampled_from(("times", "plus")))} if kind == "number" else {}
            return x if self.parts[x].options.get("decomposed") else self.add(kind, x, **options)
        if (kind == "shuffle" and shape[0] % 2) or (kind == "pixels" and shape[0] % 4):
            kind = "turn"
        return self.add(kind, x)

    def chain(self, x: int, length: int, depth: int) -> int:
        """Parts one after the other that keep the shape, joins among them."""
        for _ in range(self.draw(st.integers(0, length))):
            x = self.join(x, depth) if depth and self.chance(0.2) else self.simple(x)
        return x

    def join(self, x: int, depth: int) -> int:
        shape = self.parts[x].shape
        kind = self.draw(st.sampled_from(("add", "add", "concat", "split", "choose", "beside")))
        if kind in ("beside", "choose") and len(shape) == 3:
            return self.beside(x) if kind == "beside" else self.choose(x)
        if kind == "split" and shape[0] > 1:
            return self.diamond(x, depth)
        ends = [self.chain(x, 3, depth - 1) for _ in range(self.draw(st.integers(2, 3)))]
        if len(set(ends)) < len(ends):
            return self.simple(x)
        if kind in ("add", "choose", "beside"):
            return self.add("add", *ends, sign=-1 if self.wild and len(ends) == 2 and self.chance(0.3) else 1)
        joined = self.add("concat", *ends, shape=(shape[0] * len(ends), *shape[1:]))
        joined = self.norm(joined) if self.chance(0.4) else joined
        return self.linear(joined, shape[0])

    def beside(self, x: int) -> int:
        """A convolution with a norm or without, and a norm of the same tensor, added in either order."""
        channels = self.parts[x].channels
        kernel, groups = self.draw(st.sampled_from((1, 3))), self.draw(st.sampled_from((1, channels)))
        options = {"kernel": kernel, "padded": kernel > 1, "groups": groups, "bias": self.chance(0.5)}
        conv = self.add("linear", x, form="conv", shared=self.chance(0.15), **options)
        ends = [self.norm(conv) if self.chance(0.5) else conv, self.norm(x)]
        return self.add("add", *(ends if self.chance(0.5) else reversed(ends)), sign=1)

    def choose(self, x: int) -> int:
        """Position by position one of two layers."""
        ends = [self.linear(self.chain(x, 1, 0), self.parts[x].channels) for _ in range(2)]
        chosen = self.add("choose", *ends)
        return self.norm(chosen) if self.chance(0.7) else chosen

    def diamond(self, x: int, depth: int) -> int:
        channels, *size = self.parts[x].shape
        first = self.draw(st.integers(1, channels - 1))
        form = self.draw(st.sampled_from(("split", "slices", "gathers")))
        cut = self.add("split", x, parts=(first, channels - first), form=form)
        pieces = [self.add("piece", cut, shape=(n, *size), number=i) for i, n in enumerate((first, channels - first))]
        ends = [self.chain(piece, 2, depth - 1) for piece in pieces]
        return self.add("concat", *reversed(ends), shape=(channels, *size))


@st.composite
def networks(draw: Any, wild: bool = False) -> Network:
    """Networks of images, with a head of features after about half of them. `wild`: with parts that nobody counts."""
    draft = _Draft(draw, wild)
    x = draft.add("input", shape=(draw(st.integers(2, 4)), 6, 5))
    for _ in range(draw(st.integers(2, 5))):
        if draft.chance(0.4):
            x = draft.linear(x, draw(st.integers(2, 6)), same_size=False)
        x = draft.norm(x) if draft.chance(0.3) else x
        x = draft.chain(x, 2, 2)
    if draft.chance(0.5):
        x = head(draft, x)
    outputs = dict.fromkeys((*draft.outputs, x))
    return living(Network(tuple(draft.parts), tuple(outputs), draw(st.integers(0, 1000))))


def living(network: Network) -> Network:
    """Without the parts that nothing comes of."""
    needed = set(network.outputs)
    for index in reversed(range(len(network.parts))):
        if index in needed:
            needed.update(network.parts[index].reads)
    place = {old: new for new, old in enumerate(sorted(needed))}
    parts = [
        replace(network.parts[old], reads=tuple(place[read] for read in network.parts[old].reads)) for old in place
    ]
    return Network(tuple(parts), tuple(place[output] for output in network.outputs), network.seed)


def head(draft: _Draft, x: int) -> int:
    channels, *size = draft.parts[x].shape
    if draft.chance(0.6):
        x, size = draft.add("global_average", x, shape=(channels, 1, 1)), [1, 1]
    x = draft.add("flatten", x, shape=(channels * size[0] * size[1],))
    x = draft.chain(x, 2, 0)
    x = draft.linear(x, draft.draw(st.integers(2, 5)))
    return draft.chain(x, 3, 1)
