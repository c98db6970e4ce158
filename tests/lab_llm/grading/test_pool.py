"""Grader processes: their limits, what they may not do, and what is left after one ends."""

import os
import socket
import subprocess
import sys
import time

import psutil
import pytest
from hostile_rules import ATTEMPTS
from lab_llm.grading import sandbox
from lab_llm.grading.pool import GraderError, GraderPool

needs_sandbox = pytest.mark.skipif(not sandbox.is_available(), reason="no seccomp here")


@pytest.fixture
def pool_of(request):
    """Makes pools that end with the test."""
    made = []

    def make(function, **settings):
        made.append(GraderPool(f"hostile_rules:{function}", **{"limit_s": 0.5, **settings}))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


@pytest.fixture(scope="module")
def attempts():
    pool = GraderPool("hostile_rules:denied", limit_s=1.0)
    yield pool
    pool.close()


def rewards(gradings):
    return [one.reward for one in gradings]


def test_gradings_come_in_the_order_of_their_items(pool_of):
    values = [float(i) for i in range(1000)]
    assert rewards(pool_of("echo").grade_all([(v,) for v in values])) == values
    assert rewards(pool_of("echo", num_workers=2).grade_all([(v,) for v in values])) == values


def test_nothing_is_graded_of_nothing(pool_of):
    assert pool_of("echo").grade_all([]) == []


@needs_sandbox
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_grader_is_denied(attempt, attempts, tmp_path):
    target = tmp_path / "file"
    target.write_text("kept")
    mode = target.stat().st_mode
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = {
            "connect": str(server.getsockname()[1]),
            "write to a stranger's pipe": "0",  # what was standard input
        }
        (found,) = attempts.grade_all([(attempt, words.get(attempt, str(target)))])
    assert found.ended
    assert found.reward == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_text() == "kept"
    assert target.stat().st_mode == mode


@needs_sandbox
def test_it_says_that_it_is_confined(attempts):
    assert attempts.is_confined


def test_a_grader_finds_no_variable_of_ours(pool_of, monkeypatch):
    monkeypatch.setenv("SECRET", "1")
    (found,) = pool_of("num_variables").grade_all([("",)])
    # OMP_NUM_THREADS, OPENBLAS_NUM_THREADS, MPLBACKEND, LC_CTYPE, DISABLE_MLFLOW_INTEGRATION
    assert found.reward <= 5.0


@pytest.mark.parametrize(
    ("function", "argument"), [("spin", 60.0), ("spin_in_c", 10**9), ("sleep", 60.0)]
)
def test_a_grading_that_goes_on_and_on_is_ended_at_its_limit(pool_of, function, argument):
    pool = pool_of(function, limit_s=0.2)
    pool.grade_all([(0,)])  # started, so that only the grading is timed below
    began = time.monotonic()
    (found,) = pool.grade_all([(argument,)])
    assert (found.reward, found.ended) == (0.0, False)
    assert time.monotonic() - began < 20  # 0.2 s of CPU time, or 3 s on the clock for a sleeper


def test_the_limit_is_each_gradings_own(pool_of):
    found = pool_of("spin", limit_s=0.5).grade_all([(0.2,)] * 6)
    assert rewards(found) == [1.0] * 6


def test_a_grading_that_eats_memory_earns_nothing_and_the_next_one_goes_on(pool_of):
    pool = pool_of("eat_memory", limit_s=5.0)
    for _ in range(2):
        (found,) = pool.grade_all([("",)])
        assert (found.reward, found.ended) == (0.0, False)


def test_a_crash_costs_its_own_grading_only(pool_of):
    found = pool_of("crash").grade_all([(i,) for i in range(100)])
    assert [one.ended for one in found] == [i != 13 for i in range(100)]
    assert rewards(found) == [0.0 if i == 13 else float(i) for i in range(100)]


def test_an_exception_of_the_rule_is_a_grading_without_reward(pool_of):
    (found,) = pool_of("broken").grade_all([("odd",)])
    assert (found.reward, found.ended) == (0.0, False)


def test_a_new_grader_has_nothing_of_the_one_before(pool_of):
    pool = pool_of("remember")
    assert rewards(pool.grade_all([(1.0,), (1.0,), (-1.0,), (1.0,)])) == [1.0, 2.0, 0.0, 1.0]


def test_the_processes_start_once(pool_of):
    pool = pool_of("echo")
    pool.grade_all([(1.0,)])
    before = set(psutil.Process().children(recursive=True))
    pool.grade_all([(1.0,)] * 200)
    assert set(psutil.Process().children(recursive=True)) == before


def test_close_leaves_no_process(pool_of):
    pool = pool_of("spin", limit_s=30.0)
    others = set(psutil.Process().children(recursive=True))
    pool.grade_all([(0.0,)])
    own = set(psutil.Process().children(recursive=True)) - others
    assert len(own) == 2
    pool.close()
    _, alive = psutil.wait_procs(own, timeout=10)
    assert not alive


@pytest.mark.parametrize("argument", ["0.0", "30.0"])
def test_graders_end_with_the_process_that_uses_them(argument):
    """Whether they wait or compute when it is killed."""
    use = (
        "from lab_llm.grading.pool import GraderPool\n"
        "pool = GraderPool('hostile_rules:spin', limit_s=2.0)\n"
        "pool.grade_all([(0.0,)])\n"
        "print('ready', flush=True)\n"
        f"pool.grade_all([({argument},)])\n"
        "import time; time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", use]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"ready\n"
        own = psutil.Process(user.pid).children(recursive=True)
        assert len(own) == 2
        user.kill()
    _, alive = psutil.wait_procs(own, timeout=30)
    assert not alive


def test_a_killed_process_is_started_again(pool_of):
    pool = pool_of("echo")
    others = set(psutil.Process().children(recursive=True))
    pool.grade_all([(1.0,)])
    starter, grader = sorted(
        set(psutil.Process().children(recursive=True)) - others, key=lambda one: one.create_time()
    )
    starter.kill()
    psutil.wait_procs([grader], timeout=10)
    pool.grade_all([(1.0,)])  # this one is lost
    assert rewards(pool.grade_all([(2.0,), (3.0,)])) == [2.0, 3.0]


def test_a_process_that_forked_grades_with_graders_of_its_own(pool_of):
    pool = pool_of("echo")
    pool.grade_all([(1.0,)])
    child = os.fork()
    if child == 0:
        right = rewards(pool.grade_all([(5.0,)])) == [5.0]
        pool.close()
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert rewards(pool.grade_all([(6.0,)])) == [6.0]


def test_a_rule_that_cannot_be_imported_is_an_error_of_its_own(pool_of, capfd):
    with pytest.raises(GraderError, match="hostile_rules:absent did not start"):
        pool_of("absent").grade_all([(1.0,)])
    assert "has no attribute 'absent'" in capfd.readouterr().err
