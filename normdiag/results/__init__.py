"""What the functions return in Python: a report that shows itself, in a terminal, in a notebook or in a file."""
