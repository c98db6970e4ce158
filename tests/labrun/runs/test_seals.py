"""Events are read only where their seal holds."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from labrun.runs import run_dir, seals
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir
from labrun.runs.seals import DamagedError, Seal, Sealing


def write_w(folder: Path) -> None:
    (folder / "w").write_text("x")


@pytest.fixture
def sealed(make_run, event) -> RunDir:
    """A done run with two scores, sealed as the worker does it."""
    run = make_run(event.attempt(0), event.score(0, 0.25), event.score(3, 0.75))
    run.write_status(sealed=Sealing(run.path / "events.jsonl").seal())
    return run


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_seal_is_the_number_of_bytes_and_their_sha256(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"one\n")
    sealing = Sealing(path)
    assert sealing.seal() == Seal(4, hashlib.sha256(b"one\n").hexdigest())
    with open(path, "ab") as out:
        out.write(b"two\n")
    assert sealing.seal() == Seal(8, hashlib.sha256(b"one\ntwo\n").hexdigest())


def test_a_file_that_was_cut_while_it_was_written_is_not_sealed(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"one\ntwo\n")
    sealing = Sealing(path)
    sealing.seal()
    os.truncate(path, 4)
    with pytest.raises(DamagedError, match=r"events\.jsonl was cut while the run wrote it"):
        sealing.seal()


def test_sealed_events_are_read(sealed):
    scores = sealed.scores()["test", "accuracy"]
    assert {step: score.value for step, score in scores.items()} == {0: 0.25, 3: 0.75}
    assert sealed.status().state == "done"
    assert sealed.events_fault() is None


@pytest.mark.parametrize("place", [0, 100, -90, -2, -1])
def test_a_flipped_bit_anywhere_is_damage_and_no_score(sealed, place):
    path = sealed.path / "events.jsonl"
    data = path.read_bytes()
    path.write_bytes(flipped(data, place % len(data)))
    with pytest.raises(DamagedError, match=r"events\.jsonl is damaged: its bytes are not those"):
        sealed.scores()
    with pytest.raises(DamagedError):
        sealed.series()
    assert str(sealed.path / "events.jsonl") in str(sealed.events_fault())


@pytest.mark.parametrize("share", [0, 0.3, 0.5, 0.99])
def test_cut_events_of_a_done_run_read_as_damaged(sealed, share):
    path = sealed.path / "events.jsonl"
    size = path.stat().st_size
    os.truncate(path, int(size * share))
    status = sealed.status()
    assert (status.state, status.message) == (
        "damaged",
        f"{path} is damaged: {int(size * share)} of its {size} bytes are left",
    )
    with pytest.raises(DamagedError, match="bytes are left"):
        sealed.scores()


def test_cut_at_the_end_of_a_line_is_damage(sealed):
    path = sealed.path / "events.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert sealed.status().state == "damaged"
    with pytest.raises(DamagedError):
        sealed.scores()


def test_lines_added_to_a_done_run_are_damage(sealed, event):
    path = sealed.path / "events.jsonl"
    with open(path, "a") as out:
        out.write(json.dumps(event.score(3, 1.0)) + "\n")
    assert sealed.status().state == "damaged"
    with pytest.raises(DamagedError, match="bytes were added when the run was done"):
        sealed.scores()


def test_of_a_done_run_s_events_that_are_too_long_nothing_is_read(sealed):
    path, seal = sealed.path / "events.jsonl", sealed.recorded_status().sealed
    os.truncate(path, 1 << 30)  # of holes, it takes no room
    lines = seals.sealed_lines(path, seal, whole=True)
    with pytest.raises(DamagedError, match=r"\d+ bytes were added when the run was done"):
        next(lines)


def test_events_that_are_missing_or_a_directory_are_damage(sealed):
    path = sealed.path / "events.jsonl"
    path.unlink()
    with pytest.raises(DamagedError, match="0 of its"):
        sealed.scores()
    path.mkdir()
    assert sealed.status().state == "damaged"
    with pytest.raises(DamagedError, match=r"events\.jsonl cannot be read: Is a directory"):
        sealed.scores()


def test_events_behind_the_seal_of_a_run_that_is_not_done_are_read(sealed, event):
    sealed.write_status(state="failed")
    with open(sealed.path / "events.jsonl", "a") as out:
        out.write(json.dumps(event.score(4, 1.0)) + "\n")
    assert sorted(sealed.scores()["test", "accuracy"]) == [0, 3, 4]


def test_a_run_of_an_earlier_version_has_no_seal_and_is_read_as_before(make_run, event):
    run = make_run(event.score(0, 0.25), event.score(3, 0.75))
    said = json.loads((run.path / "status.json").read_text())
    del said["sealed"]
    (run.path / "status.json").write_text(json.dumps(said))
    assert run.status().sealed is None
    assert run.status().state == "done"
    path = run.path / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    assert sorted(run.scores()["test", "accuracy"]) == [0]


@pytest.mark.parametrize("seal", [5, [], {}, {"bytes": "x", "sha256": "a"}, {"bytes": 1}])
def test_a_damaged_seal_makes_the_status_unreadable(sealed, seal):
    said = json.loads((sealed.path / "status.json").read_text())
    (sealed.path / "status.json").write_text(json.dumps(said | {"sealed": seal}))
    assert sealed.status().state == "unreadable"


def test_prefixes_that_hold_are_found_in_one_reading(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"abcdef")
    right = [Seal(n, hashlib.sha256(b"abcdef"[:n]).hexdigest()) for n in (0, 2, 6)]
    wrong = [Seal(3, right[1].sha256), Seal(9, right[2].sha256)]
    assert seals.that_hold(path, [*wrong, *right]) == set(right)
    assert seals.that_hold(tmp_path / "absent", right) == {right[0]}
    assert seals.that_hold(tmp_path, right) == set()


def test_a_checkpoint_seals_the_events_before_it(make_run):
    run = make_run(state="running")
    ctx = RunContext(run=run, seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=2)
    ctx.start_attempt()
    ctx.log(1, {"loss": 0.5})
    before = (run.path / "events.jsonl").read_bytes()
    folder = ctx.save_checkpoint(1, write_w)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["events"] == {
        "bytes": len(before),
        "sha256": hashlib.sha256(before).hexdigest(),
    }
    assert [event["kind"] for event in run.events()] == ["attempt", "metrics", "checkpoint"]


def test_an_event_that_was_written_by_a_child_process_belongs_to_the_seal(make_run):
    run = make_run(state="running")
    ctx = RunContext(run=run, seed=0, attempt=0, devices=(), resume_from=None, keep_checkpoints=2)
    ctx.start_attempt()
    ctx.seal_events()
    if (child := os.fork()) == 0:
        ctx.note("from a child")
        os._exit(0)
    os.waitpid(child, 0)
    ctx.note("from the parent")
    run.write_status(state="done", sealed=ctx.seal_events())
    assert [event.get("message") for event in run.events()][1:] == [
        "from a child",
        "from the parent",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "null",
        '{"time": 1.0, "kind": 5}',
        '{"time": "now", "kind": "note"}',
        '{"time": 1.0, "kind": "metrics", "step": "1", "metrics": {"loss": 1.0}}',
        '{"time": 1.0, "kind": "metrics", "step": 1, "metrics": [1.0]}',
        '{"time": 1.0, "kind": "metrics", "step": 1, "metrics": {"loss": "x"}}',
        '{"time": 1.0, "kind": "score", "step": 1, "score": {"task": "t"}}',
        '{"time": 1.0, "kind": "score", "step": 1, "score": {"task": "t", "metric": "m",'
        ' "value": null, "n": 1}}',
        '{"time": 1.0, "kind": "score", "step": 1, "score": {"task": "t", "metric": "m",'
        ' "valud": 1.0, "n": 1}}',
        '{"time": 1.0, "kind": "attempt", "attempt": 0}',
        '{"time": 1.0, "kind": "attempt", "attempt": null, "resumed_from": null}',
        '{"time": 1.0, "kind": "note", "step": "x", "message": "m"}',
        "[" * 100_000,
    ],
)
def test_lines_of_wrong_types_are_no_events(line):
    assert run_dir.parse_event(line.encode()) is None
