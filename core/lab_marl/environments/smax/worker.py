"""The process that steps SMAX: it answers requests over a pipe until its parent is gone."""

import contextlib
import functools
import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from lab_marl.environments.smax.process import DONE, FAILED, UNIMPORTED
from lab_marl.environments.smax.scenarios import Scenario
from lab_marl.environments.smax.simulator import Battles, Game

WATCH_S = 2.0
"""Seconds between two looks whether the parent still lives."""

Request = tuple[tuple[int, ...], str, int, Any]
"""Numbers of battles that nobody needs any more; what is asked; of which battles; with what."""


def main(words: list[str]) -> None:
    """`words`: the handle of the pipe, and the parent's process id."""
    # The parent decides when this process ends, also where a signal goes to the whole group.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    handle, parent = map(int, words)
    with contextlib.suppress(EOFError, OSError), Connection(handle) as pipe:
        _serve(pipe, parent)


def _serve(pipe: "Connection[Any, Any]", parent: int) -> None:
    battles: dict[int, Battles] = {}
    while os.getppid() == parent:
        if pipe.poll(WATCH_S):
            pipe.send(_reply(battles, pipe.recv()))


def _reply(battles: dict[int, Battles], request: Request) -> tuple[str, Any]:
    """(DONE, the answer), (UNIMPORTED, why) or (FAILED, the traceback)."""
    try:
        return DONE, _answer(battles, request)
    except ImportError as error:
        return UNIMPORTED, str(error)
    except Exception:  # raised again in the parent
        return FAILED, traceback.format_exc()


def _answer(battles: dict[int, Battles], request: Request) -> Any:
    unneeded, name, number, value = request
    for old in unneeded:
        battles.pop(old, None)
    if name == "make":
        game = _game(value)
        battles[number] = Battles(game)
        return game.sizes()
    if name == "advise":
        return battles[number].advise()
    return {"reset": battles[number].reset, "step": battles[number].step}[name](value)


@functools.cache
def _game(scenario: Scenario) -> Game:
    return Game(scenario)


if __name__ == "__main__":
    main(sys.argv[1:])
