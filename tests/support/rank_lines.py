"""A rank of a test: `python rank_lines.py FILE` runs what the file says."""

import runpy
import sys

if __name__ == "__main__":
    runpy.run_path(sys.argv[1], run_name="__main__")
