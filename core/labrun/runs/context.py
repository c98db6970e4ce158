"""What a component sees of its run: its seed, its steps, its results, its checkpoints."""

import atexit
import hashlib
import json
import operator
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from labrun.errors import PreemptedError
from labrun.plan import Plans, Setup
from labrun.runs import checkpoints, resume_point
from labrun.runs.run_dir import EVENTS, PROGRESS, RunDir, event_line
from labrun.runs.seals import Seal, Sealing
from labrun.runs.signs import BEAT
from labrun.score import Score, scores_of
from labrun.system import disk
from labrun.system.paths import confined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEAT_S = 0.2
PACED = ("stage", "total")
"""What a speed holds for: steps of an evaluation take another time than those of training."""


class Scorer(Protocol):
    """An evaluator, as the contract describes it."""

    def evaluate(self, ctx: "RunContext", model: Any, data: Any) -> list[Score]: ...


@dataclass
class RunContext:
    """Handed to every component of a run; the only way in which they touch its directory."""

    run: RunDir
    seed: int
    attempt: int
    devices: tuple[str, ...]
    resume_from: Path | None
    """Directory of the checkpoint to go on from, as `save_checkpoint`'s writer filled it."""
    keep_checkpoints: int
    evaluators: Sequence[Scorer] = ()
    setup: Setup = field(default_factory=Setup)
    """What was known of the run before its work began."""
    should_stop: bool = False
    """True once the run was asked to stop: save a checkpoint and raise PreemptedError."""
    rank: int = 0
    """Which of the job's processes this is; only 0 writes what the run says and makes."""
    world_size: int = 1
    barrier: Callable[[], None] | None = None
    """Returns once all processes have called it; set by the trainer where there are several."""
    step: int = 0
    sealed: Seal | None = None
    """Of the events, in the checkpoint to go on from."""
    _sealing: Sealing | None = field(default=None, repr=False)
    _scratch: Path | None = field(default=None, repr=False)
    _last_beat: float = field(default=-BEAT_S, repr=False)
    _progress: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def run_id(self) -> str:
        return self.run.id

    @property
    def run_dir(self) -> Path:
        return self.run.path

    def derive_seed(self, *names: str | int) -> int:
        """A seed of 63 bits for one named stream: equal for equal run seed and names."""
        text = json.dumps([self.seed, *names])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def rng(self, *names: str | int) -> np.random.Generator:
        """A generator for one named stream, the same at every attempt."""
        return np.random.default_rng(self.derive_seed(*names))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics at an optimizer step. Names under `time/` may differ between runs.

        Raises TypeError for a step that is no whole number.
        """
        self.step = operator.index(step)
        self._event("metrics", step=self.step, metrics={k: float(v) for k, v in metrics.items()})

    def check_evaluators(self, model: Any, data: Any) -> None:
        """Plan the evaluators again, now that model and data are there.

        A trainer calls it before its first step, since some score at the end only. Raises LabError
        where one of them cannot score this model on these data.
        """
        setup = replace(self.setup, model=model, data=data)
        for evaluator in self.evaluators:
            if isinstance(evaluator, Plans):
                evaluator.plan(setup)

    def evaluate(self, model: Any, data: Any, *, step: int) -> list[Score]:
        """Score the model with every evaluator of the run and record the scores, part by part: an
        evaluator finds those of the ones before it in the run.

        All processes call it. Each evaluator gives all of them the same scores. One that an earlier
        attempt finished at this step is not run again. Raises PreemptedError where the run was
        asked to stop before an evaluator began, TypeError for a step that is no whole number.
        """
        self.step = step = operator.index(step)
        with self._stage("evaluate"):
            return self._scores(model, data, step)

    def _scores(self, model: Any, data: Any, step: int) -> list[Score]:
        finished = self._scored_earlier(step)
        scores = []
        for number, part in enumerate(self.evaluators):
            if number in finished:
                scores += finished[number]
                continue
            if self.should_stop and self.world_size == 1:
                raise PreemptedError(f"stopped in the evaluation of step {step}")
            found = scores_of(part, part.evaluate(self, model, data))
            for score in found:
                self._event("score", step=step, score=score.to_event())
            self._event(
                "evaluated", step=step, evaluator=number, scores=len(found), **self._seals()
            )
            scores += found
        return scores

    def _scored_earlier(self, step: int) -> dict[int, list[Score]]:
        """Evaluator's number -> its scores, of those that an earlier attempt finished at `step`."""
        if self.resume_from is None:
            return {}
        events = self.run.current_events()
        begun = max((i for i, e in enumerate(events) if e["kind"] == "attempt"), default=0)
        finished: dict[int, list[Score]] = {}
        recorded: list[Score] = []
        for event in events[:begun]:
            if event.get("step") != step:
                continue
            if event["kind"] == "score":
                recorded.append(Score(**event["score"]))
            elif event["kind"] == "evaluated":
                own = len(recorded) - event["scores"]
                finished[event["evaluator"]] = recorded[own:]
        return finished

    def save_checkpoint(self, step: int, writer: Callable[[Path], None]) -> Path:
        """Seal what `writer(directory)` writes as the checkpoint of `step`.

        All processes call it, and write their parts into one directory.
        """
        with self._stage("checkpoint"):
            return self._save(step, writer)

    def _save(self, step: int, writer: Callable[[Path], None]) -> Path:
        sealed = self.seal_events()
        root, keep = self.run.checkpoints, self.keep_checkpoints
        if self.world_size == 1:
            checkpoints.save(root, step, writer, keep=keep, events=sealed)
        else:
            if self.rank == 0:
                checkpoints.begin(root, step)
            self._meet()
            writer(checkpoints.draft_of(root, step))
            self._meet()
            if self.rank == 0:
                checkpoints.seal(root, step, keep=keep, events=sealed)
            self._meet()
        self._event("checkpoint", step=step)
        return checkpoints.sealed_of(root, step)

    def _meet(self) -> None:
        assert self.barrier is not None, "a trainer of several processes sets ctx.barrier"
        self.barrier()

    def artifact_path(self, name: str) -> Path:
        """A path under the run's artifacts, its folder made; what lies there is kept for good.

        Processes other than the first get a path in a private folder that ends with them. Raises
        LabError for a name that leads elsewhere.
        """
        path = confined(name, root=self._artifacts())
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _artifacts(self) -> Path:
        if self.rank == 0:
            return self.run.artifacts
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix=f"labrun-rank{self.rank}-"))
            atexit.register(shutil.rmtree, self._scratch)
        return self._scratch

    def write_text(self, name: str, text: str) -> Path:
        """Write `artifacts/<name>` aside and put it in place whole."""
        path = self.artifact_path(name)
        draft = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.draft")
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
        return path

    def figure(self, name: str, figure: "Figure") -> Path:
        """Save a matplotlib figure as `artifacts/<name>.png`."""
        path = self.artifact_path(f"{name}.png")
        figure.savefig(path, dpi=150, bbox_inches="tight")
        return path

    def note(self, message: str) -> None:
        """Record something that the reader of the results must know (a substitution, a skip)."""
        self._event("note", step=self.step, message=message)

    def warn(self, message: str) -> None:
        """A note that the command also prints at its end: the run is done, and yet not as wished
        (nothing was learned, the training set holds the evaluation set)."""
        self._event("note", step=self.step, message=message, warning=True)

    def progress(
        self, *, step: int | None = None, total: int | None = None, stage: str | None = None
    ) -> None:
        """Say where the run stands; also its sign of life. Cheap: at most five writes a second."""
        now = time.monotonic()  # a clock that is set back must not keep a run silent
        news = {"step": step, "total": total, "stage": stage, "stopping": self.should_stop or None}
        known = {key: value for key, value in news.items() if value is not None}
        if any(known.get(key, old) != old for key, old in self._progress.items() if key in PACED):
            self._progress.pop("since", None)  # what is left counts from here
        self._progress |= known
        if "step" in self._progress:
            self._progress.setdefault("since", [self._progress["step"], time.time()])
        if stage is None and now - self._last_beat < BEAT_S:
            return
        self._last_beat = now
        path = self.run.path / PROGRESS
        draft = path.with_suffix(".draft")
        try:
            if self.rank > 0:
                (self.run.path / BEAT).touch()
                return
            draft.write_text(json.dumps({"time": time.time(), **self._progress}))
            os.replace(draft, path)
        except OSError as error:
            if error.errno not in disk.FULL:
                raise

    def count_anew(self) -> None:
        """Forget the steps said so far: they were of something else, such as making the data."""
        for key in ("step", "total", "since"):
            self._progress.pop(key, None)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """While entered the run is in this stage, then in the one before it."""
        before = self._progress.get("stage")
        self.progress(stage=name)
        yield
        if before is not None:
            self.progress(stage=before)

    def heartbeat(self) -> None:
        """A sign of life, for work that reports no steps."""
        self.progress()

    def start_attempt(self) -> None:
        """Mark where this attempt begins; mends what a crash or damage left of the events behind
        the checkpoint."""
        resumed = checkpoints.step_of(self.resume_from) if self.resume_from else None
        self.step = resumed or 0
        if self.rank > 0:
            return
        fault = resume_point.mend_events(self.run, self.sealed)
        self._event("attempt", attempt=self.attempt, resumed_from=resumed)
        if fault:
            self.warn(f"{fault}; what it lacks is computed again")

    def seal_events(self) -> Seal | None:
        """The seal of all events so far, which are on disk; None on a rank other than the first."""
        if self.rank > 0:
            return None
        if self._sealing is None:
            self._sealing = Sealing(self.run.path / EVENTS)
        return self._sealing.seal()

    def _seals(self) -> dict[str, Any]:
        """The entry of an event that seals those before it."""
        sealed = self.seal_events()
        return {"sealed": asdict(sealed)} if sealed else {}

    def _event(self, kind: str, **values: Any) -> None:
        if self.rank > 0:
            return
        line = event_line({"time": time.time(), "kind": kind, **values}).encode()
        path = f"{self.run.path}/{EVENTS}"
        disk.patiently(lambda: disk.append(path, line))
