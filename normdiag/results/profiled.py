"""What `normdiag.profile` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from normdiag.records import Profile
from normdiag.records.document import Document
from normdiag.report.abridge import Detail
from normdiag.results.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class ProfileResult(Shown, Profile):
    """A profile that shows itself and goes into a file: the members are those of `Profile`."""

    def document(self, detail: Detail | None = None) -> Document:
        """What `normdiag profile` says."""
        from normdiag.report.profile import profile_document

        return profile_document(self, detail)

    def headline(self) -> str:
        """How many points, and what they were measured on."""
        from normdiag.report.words import count, listed

        sources = listed(self.data.sources)
        return f"{count(len(self.points), 'point')} on {count(self.data.samples, 'sample')} of {sources}"

    def to_dict(self) -> dict[str, Any]:
        """What `normdiag profile --json` prints; docs/profile.schema.json describes it."""
        from normdiag.render.profile_json import profile_to_json

        return profile_to_json(self)

    def write(self, path: str | Path) -> Path:
        """Write the file that `--reference` and `normdiag.read_profile` take, whole or not at all."""
        from normdiag.profiles import write_profile

        write_profile(self, Path(path))
        return Path(path)
