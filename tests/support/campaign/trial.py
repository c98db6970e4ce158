"""One trial: a run that is killed, resumed until it is done, and compared with a whole one."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labrun.errors import EXIT_DONE, EXIT_PREEMPTED
from labrun.runs.run_dir import RunDir

from campaign import record, remains, store
from campaign.commands import Command, processes_of
from campaign.findings import Findings
from campaign.kills import Kill, Watch
from campaign.places import Here, Place
from campaign.record import Record
from campaign.subjects import Subject

COMMAND_S = 900.0
"""Time after which a command counts as one that never ends."""
CATCH_UP_S = 20.0
"""Time that the store has to catch up once a command has looked at it."""
PATIENCE_S = 5.0
"""Time that the kernel has to end a killed process."""
POLL_S = 0.003
SETTLE_S = 0.05
"""Time between two looks at the state of a run whose process ends."""
AGAIN_S = 0.2
"""Time after which a kill whose target is not there yet is tried again."""
LOOK_S = 1.0
"""Time between two questions whether a run goes on without its command."""
STATUS_S = 15.0
"""Time between two `lab status` meanwhile."""
NOT_AN_END = ("queued", "running", "unreadable", "refused", "diverged", "hung")


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run of a subject: its end, how long it took, how many events it wrote."""

    record: Record
    seconds: float
    num_events: int


def whole(subject: Subject, *, folder: Path, search: Sequence[Path], place: Place) -> Whole:
    """Run the subject to its end without a kill. Raises SystemExit where it does not end well."""
    command = Command(("run", *subject.words, *place.words), folder, search)
    code = command.wait(COMMAND_S)
    run = record.run_of(folder / "home")
    if code != 0 or run is None:
        log = folder / "command.log"
        said = log.read_text().splitlines()[-1]
        raise SystemExit(f"an uninterrupted {subject.name} ended with {code}: {said}; see {log}")
    if missing := [pattern for pattern in subject.weights if not any(run.glob(pattern))]:
        raise SystemExit(f"an uninterrupted {subject.name} wrote no {', '.join(missing)}")
    events = record.events_of(folder / "home")
    return Whole(record.read(run, weights=subject.weights), command.seconds(), events)


@dataclass
class Trial:
    """A subject in a folder of its own, and what is found."""

    subject: Subject
    kills: list[Kill]
    whole: Whole
    folder: Path
    search: Sequence[Path]
    place: Place = field(default_factory=Here)
    catch_up_s: float = CATCH_UP_S
    found: Findings = field(default_factory=Findings)
    pids: set[int] = field(default_factory=set)
    may_need_resume: bool = False
    """Whether a kill since the last command began may have ended the run."""

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def play(self) -> Findings:
        """Kill, resume until done, compare."""
        self.found.count("trials")
        waiting = list(self.kills)
        while self._state() != "done":
            num_before = len(waiting)
            code = self._command(waiting)
            self._look_around(struck=len(waiting) < num_before)
            self._check_code(code)
            if code is None or (len(waiting) == num_before and code != 0):
                said = (self.folder / "command.log").read_text().splitlines()[-1:]
                self.found.fault(
                    "states", f"a command that nobody killed ended with {code}: {said}"
                )
                return self.found
        self._compare()
        return self.found

    def _state(self) -> str:
        """The run's state as every command reads it; empty before there is a run."""
        run = record.run_of(self.home)
        return RunDir(run).status().state if run else ""

    def _settled_state(self) -> str:
        """The state when the last killed process is gone: the kernel takes a while to end one, and
        until then its run reads as running."""
        until = time.monotonic() + PATIENCE_S
        while (state := self._state()) in NOT_AN_END and time.monotonic() < until:
            time.sleep(SETTLE_S)
        return state

    def _command(self, waiting: list[Kill]) -> int | None:
        """Start or resume the run, and kill at each moment that comes; the exit code."""
        run = record.run_of(self.home)
        first = ("run", *self.subject.words, *self.place.words)
        words = ("resume", run.name, *self.place.again) if run else first
        command = Command(words, self.folder, self.search)
        if run:
            self.found.count("resumes")
        self.pids.add(command.process.pid)
        self.may_need_resume = False
        watch = self._watch()
        while waiting and not command.ended() and command.seconds() < COMMAND_S:
            watch = self._strike_in_time(waiting, watch, command)
        code = command.wait(COMMAND_S)
        self._without_command(waiting, watch, command)
        return code

    def _without_command(self, waiting: list[Kill], watch: Watch, command: Command) -> None:
        """Kill on while the run goes on by itself, and look at it as a user would."""
        began = asked = looked = time.monotonic()
        goes_on = self.place.has(self.home)
        while goes_on and time.monotonic() - began < COMMAND_S:
            watch = self._strike_in_time(waiting, watch, command)
            if time.monotonic() - looked > STATUS_S:
                Command(("status",), self.folder, self.search).wait(COMMAND_S)
                looked = time.monotonic()
            if time.monotonic() - asked > LOOK_S:
                goes_on, asked = self.place.has(self.home), time.monotonic()
        if goes_on:
            self.found.fault("states", f"its job has not ended in {COMMAND_S:g} s")

    def _watch(self) -> Watch:
        return Watch(self.home, seconds=self.whole.seconds, num_events=self.whole.num_events)

    def _strike_in_time(self, waiting: list[Kill], watch: Watch, command: Command) -> Watch:
        """Kill if the moment of the next kill has come; the watch for the one after it."""
        time.sleep(POLL_S)
        if not waiting or not watch.reached(waiting[0]):
            return watch
        kill = waiting.pop(0)
        time.sleep(kill.pause_s)
        while not self._strike(kill, command):
            lives = kill.target != "command" and self.place.has(self.home)
            if command.ended() and not lives:
                break
            time.sleep(AGAIN_S)
        return self._watch()

    def _strike(self, kill: Kill, command: Command) -> bool:
        """Whether there was something to kill."""
        may_end = self.place.may_end_with(kill, home=self.home)
        self.pids |= {process.pid for process in processes_of(self.folder)}
        if not self.place.strike(kill, command=command):
            return False
        self.found.count("kills")
        self.may_need_resume |= may_end
        return True

    def _look_around(self, *, struck: bool) -> None:
        """What a command left behind: its run's state, processes, locks."""
        left = remains.left_processes(self.folder)
        self.found.fault("processes", f"processes left: {left}", times=len(left))
        locks = remains.left_locks(self.folder, pids=self.pids)
        self.found.fault("locks", f"locks left: {locks}", times=len(locks))
        state = self._settled_state()
        failed = state == "failed" and not any("rank" in kill.target for kill in self.kills)
        if state in NOT_AN_END or (failed and struck):
            self.found.fault("states", f"after its command it reads {state!r}: {self._message()}")
        elif struck and state != "done" and not self.may_need_resume:
            self.found.fault("states", f"it did not go on by itself: {state!r}: {self._message()}")

    def _message(self) -> str:
        run = record.run_of(self.home)
        return RunDir(run).status().message if run else ""

    def _check_code(self, code: int | None) -> None:
        """A command that says done or stopped by its code says what its run says."""
        state = self._state()
        if code in (EXIT_DONE, EXIT_PREEMPTED) and (code == EXIT_DONE) != (state == "done"):
            self.found.fault("states", f"a command ended with {code}, its run reads {state!r}")

    def _run(self) -> Path:
        run = record.run_of(self.home)
        assert run is not None
        return run

    def _compare(self) -> None:
        """The run's end beside the uninterrupted one's, and beside the store."""
        own = record.read(self._run(), weights=self.subject.weights)
        for name in ("weights", "metrics", "scores"):
            differing = _differing(getattr(own, name), getattr(self.whole.record, name))
            self.found.fault(name, f"{name} that differ: {differing}", times=len(differing))
        self._compare_store(own)

    def _compare_store(self, own: Record) -> None:
        """Where the store is behind, a command that looks at it comes first, as users do."""
        points = store.expected(own.points)
        has, statuses = store.stored(self.home, self._run().name)
        if has != points or statuses != ["FINISHED"]:
            Command(("runs",), self.folder, self.search).wait(COMMAND_S)
            until = time.monotonic() + self.catch_up_s
            while (has != points or statuses != ["FINISHED"]) and time.monotonic() < until:
                time.sleep(0.2)
                has, statuses = store.stored(self.home, self._run().name)
            self._look_around(struck=False)
        lacking, twice = points - has, has - points
        self.found.fault("lacking", f"MLflow lacks {lacking}", times=lacking.total())
        self.found.fault("twice", f"MLflow has too often {twice}", times=twice.total())
        if statuses != ["FINISHED"]:
            self.found.fault("states", f"in MLflow the run reads {statuses}")


def _differing(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[Any]:
    """The keys under which the two differ, or that only one has."""
    absent = object()
    return [k for k in {**one, **other} if one.get(k, absent) != other.get(k, absent)]
