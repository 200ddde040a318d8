"""Model files and live modules, read into one record. Nothing is run from a file that is not trusted explicitly."""

from normdiag.models.load import from_module, load, refuse_for_onnx
from normdiag.models.options import LoadOptions, streaming_where_needed

__all__ = ["LoadOptions", "from_module", "load", "refuse_for_onnx", "streaming_where_needed"]
