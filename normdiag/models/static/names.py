"""Names of tensors and modules as the model's own code knows them: without what wrappers put in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# DataParallel and DistributedDataParallel; torch.compile.
_LEADING = ("module.", "_orig_mod.")
_COMPILED = "_orig_mod."
# Wrappers nest a few deep at most; a file's names could go on for ever.
_MAX_NESTING = 8


@dataclass(frozen=True)
class Wrappers:
    """What wrappers put into the names of a file: leading prefixes, outermost first, and `_orig_mod.` inside."""

    prefixes: tuple[str, ...] = ()
    inner: bool = False

    def strip(self, name: str) -> str:
        """The name, of a tensor or a module, without them; the wrappers themselves become ''."""
        name += "."
        for prefix in self.prefixes:
            name = name.removeprefix(prefix)
        return (name.replace(_COMPILED, "") if self.inner else name).removesuffix(".")

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each kind of change."""
        leading = tuple(f"stripped '{prefix}' from the names" for prefix in dict.fromkeys(self.prefixes))
        return (*leading, f"stripped '{_COMPILED}' inside names") if self.inner else leading


def find_wrappers(names: Sequence[str]) -> Wrappers:
    """The wrappers whose prefixes all tensor names with a dot share, where no two names would become one."""
    wrappers = Wrappers()
    for _ in range(_MAX_NESTING):
        stripped = [wrappers.strip(name) for name in names]
        prefix = _common_prefix(stripped)
        longer = Wrappers((*wrappers.prefixes, prefix)) if prefix else wrappers
        if longer == wrappers or not _keeps_apart(longer, names):
            break
        wrappers = longer
    inner = Wrappers(wrappers.prefixes, True)
    compiled = any(_COMPILED in wrappers.strip(name) for name in names)
    return inner if compiled and _keeps_apart(inner, names) else wrappers


def _common_prefix(names: Sequence[str]) -> str | None:
    dotted = [name for name in names if "." in name]
    for prefix in _LEADING:
        if dotted and all(name.startswith(prefix) for name in dotted):
            return prefix
    return None


def _keeps_apart(wrappers: Wrappers, names: Sequence[str]) -> bool:
    return len({wrappers.strip(name) for name in names}) == len(names)


def printable(name: str) -> str:
    """The name with lone surrogates and control characters escaped, so that it can be written anywhere."""
    if name.isprintable():
        return name
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in name)
