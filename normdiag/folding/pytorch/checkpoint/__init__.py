"""Folding a Hugging Face checkpoint into one of the same architecture, its weights read one at a time."""

from normdiag.folding.pytorch.checkpoint.foldable import CheckpointFoldable, CheckpointFolded
from normdiag.folding.pytorch.checkpoint.stored_model import open_stored

__all__ = ["CheckpointFoldable", "CheckpointFolded", "open_stored"]
