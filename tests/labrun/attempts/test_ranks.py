"""The launcher of a job's ranks, on scripts of a few lines and on the example plugin."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from labrun.attempts import ranks
from labrun.attempts.machines import Machines
from labrun.attempts.ranks import Ending
from labrun.config.components import build
from labrun.config.experiments import compose
from labrun.errors import LabError
from labrun.runs import run_dir

LINES = Path(__file__).parents[2] / "support" / "rank_lines.py"
HEAD = """
import os, signal, sys, time
from labrun.attempts.ranks import Ending, leave
rank = int(os.environ["RANK"])
"""


@pytest.fixture
def script(tmp_path):
    """A command that runs these lines as a rank."""

    def write(lines: str) -> list[str]:
        path = tmp_path / "rank.py"
        path.write_text(HEAD + textwrap.dedent(lines))
        return [sys.executable, str(LINES), str(path)]

    return write


def test_ranks_get_the_variables_of_torchrun_and_a_share_of_the_threads(
    script, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    command = script(f"""
        names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR",
                 "MASTER_PORT", "OMP_NUM_THREADS"]
        with open("{tmp_path}/" + str(rank), "w") as out:
            out.write(" ".join(os.environ[name] for name in names))
        leave(Ending("done", 0))
    """)
    assert ranks.launch(command, 2) == Ending("done", 0)
    first, second = ((tmp_path / rank).read_text().split() for rank in ("0", "1"))
    assert first[:5] == ["0", "0", "2", "2", "127.0.0.1"]
    assert second[:5] == ["1", "1", "2", "2", "127.0.0.1"]
    assert first[5] == second[5]
    assert first[6] == second[6] == "2"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # what both say alike is rank 0's, though rank 1 says it first
        (("preempted", 75, "a"), ("preempted", 75, "b"), ("preempted", 75, "a")),
        # of two crashes the first explains the other
        (("failed", 1, "peer is gone"), ("failed", 1, "b"), ("failed", 1, "b")),
        # a crash follows from the ending that was meant, in either rank
        (("failed", 1, "peer is gone"), ("diverged", 70, "nan"), ("diverged", 70, "nan")),
        (("refused", 2, "no"), ("failed", 1, "peer is gone"), ("refused", 2, "no")),
        # the first is done, the other is not
        (("done", 0, ""), ("failed", 3, "late"), ("failed", 3, "late")),
    ],
)
def test_the_ending_is_the_one_that_explains_the_others(script, first, second, expected):
    command = script(f"""
        mine = [{first!r}, {second!r}][rank]
        if rank == 0:
            time.sleep(0.2)
        leave(Ending(*mine))
        sys.exit(mine[1])
    """)
    assert ranks.launch(command, 2) == Ending(*expected)


@pytest.mark.parametrize(
    ("dying", "expected"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            Ending("failed", 1, "rank 1 was ended by signal 9"),
        ),
        ("sys.exit(3)", Ending("failed", 3, "rank 1 ended with exit code 3 and no word")),
        ("os._exit(0)", Ending("failed", 1, "rank 1 ended with exit code 0 and no word")),
        # a code that has a meaning counts only with a word from the rank
        ("sys.exit(75)", Ending("failed", 1, "rank 1 ended with exit code 75 and no word")),
    ],
)
def test_a_rank_that_dies_takes_the_others_with_it_after_the_grace(
    script, tmp_path, dying, expected
):
    command = script(f"""
        if rank == 1:
            {dying}
        open("{tmp_path}/pid", "w").write(str(os.getpid()))
        time.sleep(60)
    """)
    began = time.monotonic()
    assert ranks.launch(command, 2, grace_s=0.5) == expected
    assert 0.5 < time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_ranks_may_end_in_their_own_time_within_the_grace(script):
    command = script("""
        if rank == 1:
            sys.exit(3)
        time.sleep(0.5)
        leave(Ending("diverged", 70, "nan"))
        sys.exit(70)
    """)
    assert ranks.launch(command, 2) == Ending("diverged", 70, "nan")


LAUNCHER = """
import sys
from labrun.attempts import ranks
ending = ranks.launch(sys.argv[1:], 2, grace_s=5)
print(ending.state)
sys.exit(ending.code)
"""


@pytest.mark.parametrize(
    ("listening", "code", "said"), [("0, 1", 75, "preempted\n"), ("0", -signal.SIGTERM, "")]
)
def test_sigterm_reaches_every_rank(script, tmp_path, listening, code, said):
    """A launcher whose ranks were not all ready for it ends by the signal itself."""
    command = script(f"""
        asked = []
        if rank in ({listening},):
            signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
        open("{tmp_path}/ready" + str(rank), "w").close()
        while not asked:
            time.sleep(0.01)
        leave(Ending("preempted", 75))
        sys.exit(75)
    """)
    launcher = [sys.executable, "-c", LAUNCHER, *command]
    process = subprocess.Popen(launcher, stdout=subprocess.PIPE, text=True)
    while not all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)):
        time.sleep(0.02)
    process.terminate()
    assert process.communicate(timeout=20)[0] == said
    assert process.returncode == code


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["num_processes=2"], "resources.num_processes=2: this trainer uses at most 1"),
        (["num_gpus=2"], "resources.num_gpus=2: this trainer uses at most 1"),
        (
            ["num_gpus=1", "num_processes=2"],
            "resources.num_processes=2: a job with resources.num_gpus=1 has one process per GPU; "
            "leave num_processes out",
        ),
    ],
)
def test_more_processes_than_trainer_or_gpus_can_use_are_refused(example, settings, message):
    experiment = compose(["plugin=example", *settings])
    with pytest.raises(LabError) as refused:
        build(experiment).plan(experiment.run.resources)
    assert str(refused.value) == message


def test_a_trainer_that_opts_in_is_asked_whether_its_settings_suit(monkeypatch):
    experiment = compose(["plugin=rlrt", "num_processes=3", "micro_batch_size=64"])
    with pytest.raises(LabError, match="3 processes cannot share 256 rollouts"):
        build(experiment).plan(experiment.run.resources)


def test_a_rank_of_another_launcher_is_refused_like_a_job(example, tmp_path):
    run = run_dir.create(compose(["plugin=example"]), root=tmp_path)
    place = {"RANK": "0", "WORLD_SIZE": "2"}
    worker = [sys.executable, "-m", "labrun.worker", str(run.path)]
    assert subprocess.run(worker, env=os.environ | place, stderr=subprocess.PIPE).returncode == 2
    assert run.status().message == "WORLD_SIZE=2: this trainer uses at most 1"
    assert run.status().state == "refused"


ELSEWHERE = """
import sys
from pathlib import Path
from labrun.attempts import ranks
from labrun.attempts.machines import Machines, Start
there = Machines(2, 1, "127.0.0.1", int(sys.argv[1]), Path(sys.argv[2]))
sys.exit(ranks.launch(sys.argv[3:], 1, machines=there, start=Start(0, 0), grace_s=1.0).code)
"""


def on_two_machines(command, board, port="1", *, grace_s=5.0):
    """The ending that the first machine makes of its rank's and the other machine's."""
    first = Machines(2, 0, "127.0.0.1", int(port), board)
    start = first.announce(0, {})
    words = [sys.executable, "-c", ELSEWHERE, port, str(board), *command]
    with subprocess.Popen(words) as second:
        ending = ranks.launch(command, 1, machines=first, start=start, grace_s=grace_s)
    return ending, second.returncode


def test_ranks_of_two_machines_meet_at_the_first(script, tmp_path):
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    command = script(f"""
        with open("{tmp_path}/" + str(rank), "w") as out:
            out.write(" ".join(os.environ[name] for name in {names}))
        leave(Ending("done", 0))
    """)
    assert on_two_machines(command, tmp_path / "board", "77") == (Ending("done", 0), 0)
    assert (tmp_path / "0").read_text() == "0 0 2 1 127.0.0.1 77"
    assert (tmp_path / "1").read_text() == "1 0 2 1 127.0.0.1 77"


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("leave(Ending('diverged', 70, 'nan')); sys.exit(70)", Ending("diverged", 70, "nan")),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            Ending("failed", 1, "rank 1 was ended by signal 9"),
        ),
    ],
)
def test_the_other_machines_rank_explains_the_ending(script, tmp_path, second, expected):
    command = script(f"""
        if rank == 1:
            {second}
        time.sleep(0.3)
        leave(Ending("failed", 1, "peer is gone"))
        sys.exit(1)
    """)
    ending, _ = on_two_machines(command, tmp_path / "board", grace_s=300.0)
    assert ending == expected


def test_a_rank_that_waits_for_a_dead_peer_elsewhere_is_ended(script, tmp_path):
    command = script("""
        if rank == 1:
            leave(Ending("refused", 2, "no"))
            sys.exit(2)
        time.sleep(600)
    """)
    assert on_two_machines(command, tmp_path / "board")[0] == Ending("refused", 2, "no")
