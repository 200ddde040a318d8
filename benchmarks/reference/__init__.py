"""Wrong inputs to models that store no statistics, found by a profile as the reference."""
