"""Opens a page once its server answers: `python -m labrun.cli.browser ADDRESS PAGE`."""

import socket
import sys
import time
import webbrowser
from urllib.parse import urlparse

WAIT_S = 60.0


def main(address: str, page: str) -> None:
    """Wait for the server for a minute at most."""
    place = urlparse(address)
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        try:
            socket.create_connection((place.hostname or "", place.port or 80), timeout=1).close()
        except OSError:
            time.sleep(0.3)
            continue
        webbrowser.open(address + page)
        return


if __name__ == "__main__":
    main(*sys.argv[1:])
