"""Planted faults, what the diagnosis says of them, and what its remedy does: `python -m benchmarks.diagnosis`."""
