"""Which norms must stay in float32 where a model runs in half precision, verified by running it so."""
