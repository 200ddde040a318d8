"""Profiles: the sums of a run as a file, and several of them as one."""

from normdiag.profiles.file import GROUPS, read_profile, write_profile
from normdiag.profiles.merge import merge

__all__ = ["GROUPS", "merge", "read_profile", "write_profile"]
