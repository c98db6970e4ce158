"""Runs in two ranks, made once for all tests that read them."""

from collections.abc import Callable

import pytest
import warm
from forked import start as forked
from labrun.attempts import ranks
from labrun.attempts.ranks import Ending
from labrun.runs.run_dir import RunDir
from rank_cases import SDPO, create, words

Start = Callable[..., Ending]


@pytest.fixture(scope="session")
def start() -> Start:
    """`start(run)` trains in two ranks; `start(run, "1")` stops the second one after step 1."""

    forked.have_a_server()

    def begin(run: RunDir, *stop_at: str) -> Ending:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setenv("HF_HUB_OFFLINE", "1")
            return ranks.launch(words(run, *stop_at), 2)

    return begin


@pytest.fixture(scope="session")
def two_ranks(start, tmp_path_factory) -> RunDir:
    """A whole run in two ranks; read it only."""
    run = create(tmp_path_factory.mktemp("two"))
    assert start(run) == Ending("done", 0)
    return run


@pytest.fixture(scope="session")
def one_process(tmp_path_factory) -> RunDir:
    """The first step of the same run in one process; read it only."""
    run = create(tmp_path_factory.mktemp("one"), "max_steps=1")
    assert warm.run(words(run)[1:]) == 0
    return run


@pytest.fixture(scope="session")
def sdpo_two_ranks(start, tmp_path_factory) -> RunDir:
    """Two steps of SDPO with an averaged teacher in two ranks; read it only."""
    run = create(tmp_path_factory.mktemp("sdpo"), *SDPO)
    assert start(run) == Ending("done", 0)
    return run
