"""A profile's figures as one JSON document; docs/profile.schema.json checks it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from normdiag import __version__
from normdiag.metrics.points import point_figures
from normdiag.records import Profile
from normdiag.render.json import SCHEMA_VERSION, finite


def profile_to_json(profile: Profile) -> dict[str, Any]:
    """What it is of and on, and the figures of each point, as plain dicts, lists, strings and finite numbers."""
    points = [
        asdict(point) | {"channels": sums.channels, "samples": sums.count} | asdict(point_figures(sums))
        for point, sums in profile.points.items()
    ]
    document = {
        "schema_version": SCHEMA_VERSION,
        "normdiag_version": __version__,
        "model": asdict(profile.model),
        "data": asdict(profile.data),
        "groups": profile.groups,
        "structure": profile.structure,
        "points": points,
    }
    return finite(document, profile.notes)
