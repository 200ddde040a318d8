"""Two models, or a model and a profile: what in the one is what in the other."""
