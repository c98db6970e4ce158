"""Which plugins end the process that imports them: `python -m labrun.plugins.check NAME...`."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from labrun.errors import LabError
from labrun.plugins import discovery as plugins

LOADED = "labrun: all are loaded"


def ending_processes() -> dict[str, str]:
    """Every installed plugin whose import ends its process at once (`os._exit`, a crash in C),
    with the reason; no `except` can catch it, so that another process tries."""
    installed = plugins.installed()
    left, ending = list(installed), {}
    while left:
        words = [sys.executable, "-m", "labrun.plugins.check", *left]
        child = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        begun = [line for line in child.stdout.splitlines() if line in {*left, LOADED}]
        if not begun or begun[-1] == LOADED:
            break
        name = begun[-1]
        reason = f"its import ends the process at once ({_end(child.returncode)})"
        ending[name] = str(plugins.not_usable(installed[name][0], reason))
        left = left[left.index(name) + 1 :]
    return ending


def _end(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def load_each(names: Sequence[str]) -> None:
    """Print each name before its plugin is loaded, and LOADED behind the last."""
    for name in names:
        print(f"\n{name}", flush=True)
        with suppress(LabError):
            plugins.load(name)
    print(f"\n{LOADED}", flush=True)


if __name__ == "__main__":
    load_each(sys.argv[1:])
