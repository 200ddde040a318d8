"""The data that is run through a model, as a stream of checked numpy batches.

`source.open_data` reads what `--data` names; `items.as_batches` takes what a user of the Python API passes. Nothing
here imports a framework, unpickles, or holds more than a batch at a time.
"""

from normdiag.data.options import AUTO, DataOptions, SourceInfo, in_random_order

__all__ = ["AUTO", "DataOptions", "SourceInfo", "in_random_order"]
