"""The effective configuration, and how one source of it is laid over another: default, then file, then flags."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePath

from normdiag.config.data import DataSettings
from normdiag.errors import UsageError
from normdiag.records import FailOn, Finding, Target
from normdiag.rules import RULES, Rule
from normdiag.rules.choose import choose, find, matching, with_limits

Ignores = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Settings:
    """What one source says: a file or the flags. None, or nothing in it, for what it leaves as it was."""

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] = ()
    ignore: tuple[str, ...] | None = None
    fail_on: FailOn | None = None
    require_data: bool | None = None
    target: Target | None = None
    per_file_ignores: Ignores = field(default_factory=dict)
    per_layer_ignores: Ignores = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    models: Mapping[str, DataSettings] = field(default_factory=dict)
    data: DataSettings = field(default_factory=DataSettings)


@dataclass(frozen=True)
class Config:
    """What holds after all sources.

    `per_file_ignores` and `models` are keyed by globs of model paths relative to `folder` (or of file names),
    `per_layer_ignores` by globs of layer names; `*` also fits slashes. `limits` are by rule id. `data` holds for every
    model and goes before `models`, whose first fitting pattern counts. `source` is the file that was read.
    """

    select: tuple[str, ...] = ("ND",)
    ignore: tuple[str, ...] = ()
    fail_on: FailOn = "error"
    require_data: bool = False
    target: Target | None = None
    per_file_ignores: Ignores = field(default_factory=dict)
    per_layer_ignores: Ignores = field(default_factory=dict)
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    models: Mapping[str, DataSettings] = field(default_factory=dict)
    data: DataSettings = field(default_factory=DataSettings)
    folder: Path = field(default_factory=Path)
    source: str | None = None

    def rules(self) -> tuple[Rule, ...]:
        """The chosen rules with their limits.

        Raises UsageError for a word or a limit that no rule has, and where no rule is chosen: nothing would be found.
        """
        limits = {find(word, RULES).id: with_limits(find(word, RULES), own) for word, own in self.limits.items()}
        chosen = tuple(limits.get(rule.id, rule) for rule in choose(self.select, self.ignore, RULES))
        if not chosen:
            ignored = f", ignore {', '.join(self.ignore)}" if self.ignore else ""
            raise UsageError(f"no rule is chosen (select {', '.join(self.select) or 'nothing'}{ignored})")
        return chosen

    def rules_for(self, path: str) -> tuple[Rule, ...]:
        """The chosen rules less those ignored for this model file."""
        words = [w for glob, ignored in self.per_file_ignores.items() if self._fits(path, glob) for w in ignored]
        dropped = {rule.id for word in words for rule in matching(word, RULES)}
        return tuple(rule for rule in self.rules() if rule.id not in dropped)

    def kept(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The findings without the layers that are ignored; one of whose layers none is left goes."""
        ignored = {
            glob: {rule.id for word in words for rule in matching(word, RULES)}
            for glob, words in self.per_layer_ignores.items()
        }

        def keeps(rule: str, layer: str) -> bool:
            return not any(rule in ids and _matches(layer, glob) for glob, ids in ignored.items())

        left = (finding.only(partial(keeps, finding.rule)) for finding in findings)
        return tuple(finding for finding in left if finding is not None)

    def data_for(self, path: str) -> DataSettings:
        """The data of this model file, and how to read it."""
        fitting = (settings for glob, settings in self.models.items() if self._fits(path, glob))
        return self.data.over(next(fitting, DataSettings()))

    def _fits(self, path: str, glob: str) -> bool:
        """Whether the glob fits the path, relative to the configuration's folder, or the name of the file."""
        relative = PurePath(os.path.relpath(path, self.folder)).as_posix()
        globs = (glob, glob.removeprefix("**/"))
        return any(_matches(text, each) for text in (relative, PurePath(path).name) for each in globs)


def _matches(name: str, glob: str) -> bool:
    """Whether a glob fits a name, or is the name itself, which may hold brackets."""
    return name == glob or fnmatchcase(name, glob)


def merge(config: Config, settings: Settings) -> Config:
    """The configuration with what the settings say over it.

    `select` starts anew: what was ignored or added before it no longer holds. Tables are merged key by key.
    """
    base = config if settings.select is None else replace(config, select=settings.select, ignore=())
    limits = {rule: {**base.limits.get(rule, {}), **own} for rule, own in settings.limits.items()}
    return replace(
        base,
        select=(*base.select, *settings.extend_select),
        ignore=base.ignore if settings.ignore is None else settings.ignore,
        fail_on=settings.fail_on or base.fail_on,
        require_data=base.require_data if settings.require_data is None else settings.require_data,
        target=settings.target or base.target,
        per_file_ignores={**base.per_file_ignores, **settings.per_file_ignores},
        per_layer_ignores={**base.per_layer_ignores, **settings.per_layer_ignores},
        limits={**base.limits, **limits},
        models={**base.models, **settings.models},
        data=settings.data.over(base.data),
    )
