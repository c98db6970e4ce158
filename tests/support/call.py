"""Call a function of a module beside this one: python call.py MODULE:FUNCTION WORDS..."""

import importlib
import sys

if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    getattr(importlib.import_module(module), function)(*sys.argv[2:])
