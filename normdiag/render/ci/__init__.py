"""What `check` found, for people and for the systems that run it: every format is one function to a string."""
