"""Commands ready to paste, for a model that did not run as it was given."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from normdiag.records import Model


def with_ready_commands(model: Model, verb: str, arguments: Sequence[str]) -> Model:
    """The model with the whole commands that would run it, in its reason for why it cannot run as it is."""
    if model.why_not_run is None or not model.run_with:
        return model
    given = " ".join(shlex.quote(each) for each in (model.info.path or "", *arguments))
    commands = " | ".join(f"normdiag {verb} {given} {options}" for options in model.run_with)
    return replace(model, why_not_run=f"{model.why_not_run}: {commands}")
