"""One file per verb: the functions that the command line calls, and that Python users call."""
