"""One section in a process of its own: `python -m gpu.section NAME OUT ...`; rows go into OUT."""

import argparse
import importlib
import json
from pathlib import Path

from gpu.place import Place


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("name")
    options.add_argument("out", type=Path)
    options.add_argument("--device", choices=("cuda", "cpu"), required=True)
    options.add_argument("--small", action="store_true")
    options.add_argument("--seconds", type=float, required=True)
    chosen = options.parse_args()
    place = Place(chosen.device, chosen.small, chosen.seconds)
    with open(chosen.out, "w") as file:
        for row in importlib.import_module(f"gpu.{chosen.name}").rows(place):
            file.write(json.dumps(row) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
