"""The command line: parses options, calls `normdiag.commands`, picks a renderer, sets the exit code; nothing else."""
