"""The page in headless Chromium: hostile text runs nothing and asks for nothing."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_S = 300
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here; `apt-get install chromium` brings it"
)


@pytest.fixture
def asked_for() -> Iterator[tuple[str, list[str]]]:
    """An address, and what has been asked for there."""
    found: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", found
        server.shutdown()


@pytest.fixture
def opened(tmp_path):
    """`opened(page)`: what Chromium printed, and the picture that it took of the page."""

    def run(page) -> tuple[str, bytes]:
        picture = tmp_path / "picture.png"
        where = [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}"]
        command = [str(CHROMIUM), *FLAGS, *where, "--window-size=1100,2400", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        return done.stderr, picture.read_bytes()

    return run


def hostile(address: str) -> str:
    return (
        f"<script>fetch('{address}/script');console.error('ran')</script>"
        f"<img src='{address}/img' onerror=\"console.error('ran')\">"
        f"</style><style>@import '{address}/css';body{{background:url({address}/url)}}</style>"
        f"<iframe src='{address}/frame'></iframe><link rel=stylesheet href='{address}/link'>"
    )


def test_the_report_runs_nothing_and_asks_for_nothing(
    language_run, event, said, report, opened, asked_for, tmp_path
):
    address, asked = asked_for
    control = tmp_path / "control.html"
    control.write_text(f"<!doctype html><title>x</title><body>{hostile(address)}")
    printed, _ = opened(control)
    assert "CONSOLE" in printed  # the text does harm where it is no text, and this test sees it
    assert {"/script", "/img", "/frame", "/link"} <= set(asked)
    asked.clear()
    evil = hostile(address)
    runs = [
        language_run(
            *(event.score(step, 0.5) for step in (0, 3)),
            completions={"in_domain": [said(evil, of=evil, prompt=evil, gold=evil)]},
            method=method,
        )
        for method in ("grpo", evil)
    ]
    report(runs, question=evil, title=evil)
    printed, picture = opened(report.path)
    assert "CONSOLE" not in printed
    assert asked == []
    assert picture.startswith(b"\x89PNG")
