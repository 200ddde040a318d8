"""Published findings about normalization, reproduced small."""
