"""Dataset, trainer and evaluators."""

import builtins
import hashlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from labrun import (
    Continues,
    DivergedError,
    LabError,
    Plan,
    PreemptedError,
    Score,
    Setup,
    TrainResult,
)
from labrun.attempts.loading import loading
from labrun.runs.context import RunContext

from example_plugin.config import ErrorConfig, LineConfig, SGDConfig

PARAMETERS = ("slope", "intercept")


@dataclass(frozen=True)
class Points:
    """Training and held-out points, shape (n, 2): x and y."""

    train: np.ndarray
    held_out: np.ndarray


class LineDataset:
    def __init__(self, config: LineConfig) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        del setup
        self._check_file()
        return Plan({"train": self.config.num_points})

    def _check_file(self) -> None:
        path = self.config.held_out_file
        if path and not Path(path).is_file():
            raise LabError(f"dataset.held_out_file={path}: no such file")

    def load(self, ctx: RunContext | None = None) -> Points:
        self._check_file()
        rng = np.random.default_rng(0)
        train = self._line(rng, self.config.num_points)
        held_out = self._line(rng, self.config.num_held_out)
        if self.config.held_out_file:
            held_out = np.loadtxt(self.config.held_out_file, delimiter=",", ndmin=2)
        return Points(train, held_out)

    def _line(self, rng: np.random.Generator, num: int) -> np.ndarray:
        x = rng.uniform(-1, 1, num)
        return np.stack([x, 2 * x - 1 + self.config.noise * rng.standard_normal(num)], axis=1)

    def fingerprint(self) -> str:
        points = self.load()
        return hashlib.sha256(points.train.tobytes() + points.held_out.tobytes()).hexdigest()


@dataclass
class State:
    """Everything that training goes on from."""

    step: int
    weights: np.ndarray
    update: np.ndarray

    def write(self, folder: Path) -> None:
        values = {"weights": self.weights.tolist(), "update": self.update.tolist()}
        (folder / "state.json").write_text(json.dumps({"step": self.step, **values}))

    @classmethod
    def read(cls, folder: Path) -> "State":
        with loading(folder / "state.json"):
            values = json.loads((folder / "state.json").read_text())
            return cls(values["step"], np.array(values["weights"]), np.array(values["update"]))


class SGDTrainer:
    def __init__(self, config: SGDConfig) -> None:
        self.config = config

    def plan(self, setup: Setup) -> Plan:
        del setup
        for name in self.config.start:
            if name not in PARAMETERS:
                raise LabError(f"trainer.start.{name}: allowed: {', '.join(PARAMETERS)}")
        free = ("save_every", "evaluate_start", "trouble")
        follow = ("decay",) if self.config.decay != "none" else ()
        return Plan({"parameters": len(PARAMETERS)}, continues=Continues(free, follow))

    def fit(self, ctx: RunContext, data: Points) -> TrainResult:
        config = self.config
        state = State.read(ctx.resume_from) if ctx.resume_from else self._start()
        ctx.progress(step=state.step, total=config.max_steps, stage="train")
        if config.trouble.start_child:
            _start_child(ctx)
        if state.step == 0 and config.evaluate_start:
            ctx.evaluate(state.weights, data, step=0)
        while state.step < config.max_steps:
            loss = self._step(state, data.train, ctx.rng("batch", state.step + 1))
            loss = self._make_trouble(state.step, loss, ctx)
            ctx.log(state.step, {"loss": loss})
            ctx.progress(step=state.step)
            if not math.isfinite(loss):
                raise DivergedError(f"loss {loss} at step {state.step}")
            if ctx.should_stop or state.step % config.save_every == 0:
                ctx.save_checkpoint(state.step, state.write)
            if ctx.should_stop:
                raise PreemptedError(f"stopped at step {state.step}")
        return TrainResult(state.weights, state.step)

    def _start(self) -> State:
        first = [self.config.start.get(name, 0.0) for name in PARAMETERS]
        return State(0, np.array(first), np.zeros(2))

    def _step(self, state: State, points: np.ndarray, rng: np.random.Generator) -> float:
        """The minibatch's mean squared error before the step that it makes."""
        x, y = points[rng.integers(len(points), size=self.config.batch_size)].T
        error = state.weights[0] * x + state.weights[1] - y
        gradient = np.array([2 * np.mean(error * x), 2 * np.mean(error)])
        left = 1 - state.step / self.config.max_steps if self.config.decay == "linear" else 1.0
        state.update = (
            self.config.momentum * state.update - self.config.learning_rate * left * gradient
        )
        state.weights = state.weights + state.update
        state.step += 1
        return float(np.mean(error**2))

    def _make_trouble(self, step: int, loss: float, ctx: RunContext) -> float:
        trouble = self.config.trouble
        time.sleep(trouble.sleep_s)
        if step == trouble.crash_at_step and ctx.attempt == 0:
            raise RuntimeError("crash that a test asked for")
        if step == 2 and trouble.script:
            code = compile(Path(trouble.script).read_text(), trouble.script, "exec")
            exec(code, {"ctx": ctx})
        if step == 3 and trouble.error:
            raise getattr(builtins, trouble.error)("error that a test asked for")
        while step == trouble.hang_at_step:
            time.sleep(1)
        return math.nan if step == trouble.nan_at_step else loss


def _start_child(ctx: RunContext) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    ctx.artifact_path("child.pid").write_text(str(child.pid))


class ErrorEvaluator:
    """The mean over the held-out points of `measure(prediction - y)`."""

    def __init__(
        self, config: ErrorConfig, metric: str, measure: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.config, self.metric, self.measure = config, metric, measure

    def plan(self, setup: Setup) -> Plan:
        del setup
        return Plan({"metric": self.metric})

    def evaluate(self, ctx: RunContext, model: np.ndarray, data: Points) -> list[Score]:
        items: list[float] = []
        for start in range(0, len(data.held_out), self.config.batch_size):
            x, y = data.held_out[start : start + self.config.batch_size].T
            items += self.measure(model[0] * x + model[1] - y).tolist()
        value = float(np.mean(items))
        return [Score("held_out", self.metric, value, len(items), tuple(items))]


class SquaredErrorEvaluator(ErrorEvaluator):
    def __init__(self, config: ErrorConfig) -> None:
        super().__init__(config, "mse", np.square)


class AbsoluteErrorEvaluator(ErrorEvaluator):
    def __init__(self, config: ErrorConfig) -> None:
        super().__init__(config, "mae", np.abs)
