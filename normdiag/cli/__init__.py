"""The command line: parses options, calls `normdiag.api`, picks a reporter, sets the exit code; nothing else."""
