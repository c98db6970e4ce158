"""`python -m labrun.cli`."""

from labrun.cli.main import main

if __name__ == "__main__":
    main()
