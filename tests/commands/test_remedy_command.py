"""The command that a diagnosis prints reads the file as this run did."""

from __future__ import annotations

from pathlib import Path

import normdiag
from normdiag import LoadOptions


def test_the_command_of_the_remedy_is_complete(samples: Path) -> None:
    options = LoadOptions(arch="sample_models/net.py:DigitsCNN", key=None)
    path, data = samples / "digits_cnn_averaged.pt", [str(samples / "digits.npz")]
    report = normdiag.inspect(path, data=data, load_options=options)
    command = report.diagnosis[0].remedy.command
    assert report.diagnosis[0].remedy.action == "recalibrate"
    assert command == (f"normdiag recalibrate {path} --arch sample_models/net.py:DigitsCNN --data train/ -o fixed.pt")
