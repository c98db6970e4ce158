"""`python -m labrun`: the command `lab`."""

from labrun.cli.main import main

if __name__ == "__main__":
    main()
