"""For `python -m typer normdiag.cli.all_commands utils docs`, which writes docs/cli.md."""

from normdiag.cli.program import program

app = program()
