"""How many norms of a random network can be folded, by brute force.

Nothing here knows the planner: every assignment of each norm to 'up' (into the layers before), 'down' (into those
behind), 'beside' (into a convolution of the same tensor that it is added to) or 'stay' is tried, and the best one that
holds is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from tests.folding.zoo.grammar import Network, Part


@dataclass(frozen=True)
class Count:
    """How many norms go at least, and how many of the others can then become a single Add.

    They go into convolutions and linear layers, or one norm into one that stays. More may go where a planner sees
    further: several norms into one that stays, a sum of two copies of one tensor.
    """

    least: int
    shifts: int


def foldable(network: Network) -> Count:
    """The best of all assignments."""
    scores = []
    alone = _Trial(network, dict.fromkeys(network.norms, "up"))
    ways = [("up", "down", "stay", *(("beside",) if alone.beside(norm) else ())) for norm in network.norms]
    for choice in product(*ways):
        trial = _Trial(network, dict(zip(network.norms, choice, strict=True)))
        if trial.holds():
            scores.append((sum(way != "stay" for way in choice), trial.shifts()))
    return Count(*max(scores))


class _Trial:
    def __init__(self, network: Network, ways: dict[int, str]) -> None:
        self.parts, self.outputs, self.ways = network.parts, network.outputs, ways
        self.readers: dict[int, list[int]] = {i: [] for i in range(len(self.parts))}
        for index, part in enumerate(self.parts):
            for read in part.reads:
                self.readers[read].append(index)

    def holds(self) -> bool:
        """Whether each norm that goes finds layers that take it up, where those that go hand everything on."""
        walks = {"up": self.up_from, "down": self.down_from, "beside": self.beside, "stay": lambda norm: True}
        return all(walks[way](norm) for norm, way in self.ways.items())

    def shifts(self) -> int:
        """Norms that stay, whose scale alone finds layers behind or before."""
        stay = [norm for norm, way in self.ways.items() if way == "stay"]
        positive = {norm: self.parts[norm].gamma != "mixed" for norm in stay}
        return sum(
            self.down(norm, positive[norm], False, True)
            or self.up(self.parts[norm].reads[0], positive[norm], False, True)
            for norm in stay
        )

    def up_from(self, norm: int) -> bool:
        part = self.parts[norm]
        return self.up(part.reads[0], part.gamma != "mixed", part.shift, True)

    def down_from(self, norm: int) -> bool:
        part = self.parts[norm]
        return self.down(norm, part.gamma != "mixed", part.shift, True)

    def beside(self, norm: int) -> bool:
        """Whether it is added to what a convolution makes of the same tensor, position by position."""
        readers = self.readers[norm]
        if norm in self.outputs or len(readers) != 1 or self.parts[readers[0]].kind != "add":
            return False
        total = self.parts[readers[0]]
        source = self.parts[norm].reads[0]
        return total.sign == 1 and any(self.same_place(x, source) for x in total.reads if x != norm)

    def same_place(self, x: int, source: int) -> bool:
        while x not in self.outputs and len(self.readers[x]) == 1:
            part = self.parts[x]
            if part.kind == "linear":
                fits = part.form == "conv" and part.reads[0] == source and part.shape == self.parts[source].shape
                return fits and (part.padded or part.kernel == 1)
            if part.kind not in ("identity", "dropout") and self.ways.get(x) not in ("up", "down"):
                return False
            x = part.reads[0]
        return False

    def up(self, x: int, positive: bool, shift: bool, alone: bool) -> bool:
        """Whether a per-channel map of tensor `x`, which one part alone reads, goes into layers before."""
        part = self.parts[x]
        if x in self.outputs or (len(self.readers[x]) != 1 and part.kind != "split"):
            return False
        if part.kind == "linear" or self.ways.get(x) == "stay":
            return alone or part.kind == "linear"
        if self.ways.get(x) == "beside":
            return False
        mixed = part.kind == "flatten" and self.parts[part.reads[0]].shape[1:] != (1, 1)
        if mixed or part.kind == "input" or barred(part, positive, shift):
            return False
        shift |= adds(part)
        return all(self.up(read, positive, shift, alone and len(part.reads) == 1) for read in part.reads)

    def down(self, x: int, positive: bool, shift: bool, alone: bool) -> bool:
        """Whether what all readers of `x` do can absorb a per-channel map of it."""
        readers = self.readers[x]
        if x in self.outputs or not readers:
            return False
        return all(self.takes(reader, positive, shift, alone and len(readers) == 1) for reader in readers)

    def takes(self, reader: int, positive: bool, shift: bool, alone: bool) -> bool:
        part = self.parts[reader]
        if part.kind == "linear":
            # A constant does not stay one through a transposed convolution, but for one of a single pixel: which
            # the issue does not ask for.
            return not shift or not (part.padded or part.form == "up")
        if self.ways.get(reader) == "stay":
            return alone
        if part.kind in ("add", "choose") or self.ways.get(reader) == "beside" or barred(part, positive, shift):
            return False
        return self.down(reader, positive, shift or adds(part), alone and part.kind != "concat")


def adds(part: Part) -> bool:
    """Whether it is a scalar constant, which goes with the norm, that shifts."""
    return bool(part.kind == "number" and part.form == "plus")


def barred(part: Part, positive: bool, shift: bool) -> bool:
    """Whether no map of this kind goes through a part, in either direction."""
    return part.kind == "act" or (part.kind == "counted_average" and shift) or (part.kind == "max" and not positive)
