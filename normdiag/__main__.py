"""`python -m normdiag`."""

from normdiag.cli.app import main

if __name__ == "__main__":
    main()
