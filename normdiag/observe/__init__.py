"""Running data through a model and keeping nothing but sums."""
