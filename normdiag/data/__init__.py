"""The data that is run through a model, as a stream of checked numpy batches.

`open_data` reads what `--data` names; `as_batches` takes what a user of the Python API passes. Nothing here imports a
framework, unpickles, or holds more than a batch at a time.
"""

from normdiag.data.check import check_batch
from normdiag.data.items import as_batches
from normdiag.data.options import DataOptions, SourceInfo
from normdiag.data.source import DataSource, open_data

__all__ = ["DataOptions", "DataSource", "SourceInfo", "as_batches", "check_batch", "open_data"]
