"""Several profiles as one: of shards, sites or days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from normdiag.errors import InputError
from normdiag.records import Profile


def merge(profiles: Sequence[Profile], names: Sequence[str]) -> Profile:
    """The profile of all samples together, about the shifts of the first and in the fewest groups of any.

    `names` are those of the files, for messages. Raises InputError where two do not belong to the same model and
    preparation of its input.
    """
    first = profiles[0]
    for profile, name in zip(profiles[1:], names[1:], strict=True):
        obstacle = _obstacle(first, profile)
        if obstacle is not None:
            raise InputError(f"{name} does not fit {names[0]}: {obstacle}")
    groups = min(each.groups for each in profiles)
    points = {}
    for point in first.points:
        sums = [each.points[point].grouped(groups) for each in profiles]
        points[point] = sum(sums[1:], sums[0])
    sources = tuple(source for each in profiles for source in each.data.sources)
    data = replace(first.data, sources=sources, samples=sum(each.data.samples for each in profiles))
    notes = tuple(dict.fromkeys(note for each in profiles for note in each.notes))
    return Profile(first.model, data, points, groups, notes)


def _obstacle(one: Profile, two: Profile) -> str | None:
    """Why two profiles cannot be added up; None where they can."""
    if one.model.sha256 != two.model.sha256 and None not in (one.model.sha256, two.model.sha256):
        return f"they are of different model files ({_file(one)} and {_file(two)})"
    if one.data.preprocess != two.data.preprocess:
        ways = (each.data.preprocess or "as it comes" for each in (one, two))
        return "the input was prepared in different ways ({} and {})".format(*ways)
    missing = [point for point in one.points if point not in two.points]
    missing += [point for point in two.points if point not in one.points]
    if missing:
        return f"only one of them has the {missing[0].role} '{missing[0].name}'"
    for point, sums in one.points.items():
        if sums.channels != two.points[point].channels:
            return f"'{point.name}' has {sums.channels} channels in one and {two.points[point].channels} in the other"
    return None


def _file(profile: Profile) -> str:
    return f"{profile.model.path or 'a module'}, sha256 {(profile.model.sha256 or '')[:12]}"
