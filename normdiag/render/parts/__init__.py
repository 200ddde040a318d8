"""The sections of the text report, in the order in which they are read."""
