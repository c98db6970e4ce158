"""`lab ui` in a browser: the curves of runs of all three plugins side by side.

A system test of MLflow's server and Debian's Chromium (`apt-get install chromium`): about 25 s of
CPU, most of it the start of both.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from urllib.parse import quote_plus

import pytest
from three_plugins import GROUP, write_runs

CHROMIUM = shutil.which("chromium")
PATIENCE_S = 300.0
"""For a page that hangs; one beside other work may take a minute."""
NAMES = ["rlrt lr=1e-4 s0", "rlrt lr=1e-4 s1", "rlrt lr=3e-4 s0", "rlrt lr=3e-4 s1"]
NAMES += ["sdpo seed 0", "sdpo seed 1", "stairs seed 0", "stairs seed 1"]
CURVES = """() => Object.fromEntries(
    [...document.querySelectorAll("[data-testid='experiment-view-compare-runs-card']")].map(card =>
        [card.innerText.split("\\n")[0], card.querySelectorAll(".scatterlayer path.js-line").length]
    ))"""
"""Title of each chart -> its number of lines."""
AXES = """() => [...document.querySelectorAll("[data-testid='experiment-view-compare-runs-card']")]
    .filter(card => card.textContent.startsWith("Parallel Coordinates"))
    .filter(card => card.querySelector("svg") && card.textContent.includes("seed")).length == 2"""
"""Whether both families of runs have parallel axes."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; CI installs Debian's")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def url(home) -> Iterator[str]:
    """The address that `lab ui` prints; it serves as long as the test goes."""
    write_runs(home)
    port = str(free_port())
    with subprocess.Popen(
        [sys.executable, "-m", "labrun.cli", "ui", "--port", port, "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as server:
        try:
            assert server.stdout is not None
            said = re.fullmatch(r"lab: (http\S+) \(Ctrl-C ends it\)\n", server.stdout.readline())
            assert said is not None
            wait_for_server(int(port))
            yield said[1]
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def wait_for_server(port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("MLflow's server does not answer")


@pytest.fixture
def page():
    """A page of the browser, large enough for all charts."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver, tempfile.TemporaryDirectory(dir="/tmp") as short:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu"],
            env=os.environ | {"TMPDIR": short},  # a socket's path has 107 letters at most
        )
        page = browser.new_page(viewport={"width": 1700, "height": 3200})
        page.set_default_timeout(PATIENCE_S * 1000)
        yield page
        browser.close()


def wait_for_curves(page, metric: str, num_runs: int) -> dict[str, int]:
    """Title of each chart -> its lines, once this one has lines for each of so many runs."""
    until = time.monotonic() + PATIENCE_S
    curves: dict[str, int] = {}
    while time.monotonic() < until:
        curves = page.evaluate(CURVES)
        if curves.get(metric, 0) >= num_runs:
            return curves
        page.wait_for_timeout(300)
    raise AssertionError(f"no {num_runs} curves of {metric} in {curves}")


def test_the_newest_group_opens_with_the_curves_of_all_plugins(url, page, tmp_path):
    page.goto(url)
    curves = wait_for_curves(page, "train/loss", len(NAMES))
    seen = page.inner_text("body")
    assert [name for name in NAMES if name not in seen] == []
    assert quote_plus(f"tags.`group` = '{GROUP}'") in page.url
    sections = ("settings and scores (2)", "eval (4)", "train (7)", "time (2)")
    flat = re.sub(r"\s+", " ", seen)
    assert [section for section in sections if section not in flat] == []
    for metric, num_runs in {"eval/in_domain/accuracy": 6, "eval/cn-2/return": 2}.items():
        assert curves[metric] >= num_runs
    page.wait_for_function(AXES)
    page.screenshot(path=os.environ.get("LABRUN_SCREENSHOT") or tmp_path / "view.png")
    completions_of_several_runs_are_seen(url, page)


def completions_of_several_runs_are_seen(url: str, page) -> None:
    page.goto(url.replace("compareRunsMode=CHART", "compareRunsMode=ARTIFACT"))
    page.get_by_text("wait, <answer>1 + 2 + 3</answer>").nth(1).wait_for()
