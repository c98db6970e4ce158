"""Finished runs of all three plugins, written into run directories and not trained."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labrun.config.experiments import compose
from labrun.runs import run_dir
from labrun.runs.run_dir import RunDir, event_line

GROUP = "three"
STEPS = 40
COMMANDS = (
    *(("plugin=rlrt", f"learning_rate={rate}") for rate in ("1e-4", "3e-4")),
    ("plugin=epistemic", "method=sdpo"),
    ("plugin=stairs", "method=stairs"),
)
SCORES = {
    "rlrt": (("in_domain", "accuracy"), ("ood", "accuracy")),
    "epistemic": (("in_domain", "accuracy"), ("ood", "accuracy")),
    "stairs": (("cn-2", "return"), ("cn-4", "return")),
}
HEIGHTS = {"rlrt": 1.0, "epistemic": 1.6, "stairs": 2.4}
"""Of the losses, so that the plugins' curves lie apart."""
FIGURE = "<!doctype html><title>completions</title><p>one page</p>"


def write_runs(home: Path) -> list[RunDir]:
    """The runs of each command of `COMMANDS` with two seeds, in one group."""
    return [
        write_run(home, [*words, f"seed={seed}", f"group={GROUP}"])
        for words in COMMANDS
        for seed in (0, 1)
    ]


def write_run(home: Path, words: list[str]) -> RunDir:
    """A finished run of this command."""
    experiment = compose(words)
    run = run_dir.create(experiment, root=home)
    now = time.time()
    events = _events(experiment.plugin, experiment.run.seed, now)
    (run.path / "events.jsonl").write_text("".join(map(event_line, events)))
    (run.path / "data.json").write_text(json.dumps({"fingerprint": experiment.plugin * 8}))
    (run.path / "provenance.json").write_text(json.dumps({"git_commit": "c0ffee"}))
    if experiment.plugin != "stairs":
        _write_completions(run.artifacts)
    run.write_status(state="done", step=STEPS, started=now, ended=now + STEPS)
    return run


def _events(plugin: str, seed: int, now: float) -> Iterator[dict[str, Any]]:
    yield {"time": now, "kind": "attempt", "attempt": 0, "resumed_from": None}
    for step in range(STEPS + 1):
        if step:
            values = _metrics(plugin, step, seed)
            yield {"time": now + step, "kind": "metrics", "step": step, "metrics": values}
        for task, metric in SCORES[plugin] if step % 20 == 0 else ():
            value = round(0.2 + 0.01 * step + 0.02 * seed, 4)
            score = {"task": task, "metric": metric, "value": value, "n": 4, "items": [value] * 4}
            yield {"time": now + step, "kind": "score", "step": step, "score": score}


def _metrics(plugin: str, step: int, seed: int) -> dict[str, float]:
    wave = math.sin(step + seed)
    shared = {
        "loss": HEIGHTS[plugin] / step + 0.02 * wave,
        "grad_norm": 1 + 0.1 * wave,
        "time/step": 0.5,
    }
    if plugin == "stairs":
        return shared | {"td_loss": 1 / step, "cn-2/td_loss": 1.1 / step, "q_taken": step / 9}
    return shared | {"reward": step / STEPS, "entropy": 3 / (1 + step / 9), "time/sample": 0.3}


def _write_completions(artifacts: Path) -> None:
    (artifacts / "completions").mkdir()
    lines = [
        {
            "id": f"problem-{index}",
            "index": index,
            "sample": 0,
            "prompt": [{"role": "user", "content": f"Make {index} of 1, 2 and 3."}],
            "gold": "1 + 2 + 3",
            "completion": "wait, <answer>1 + 2 + 3</answer>",
            "tokens": 12,
            "reward": 1.0,
        }
        for index in range(60)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (artifacts / "completions" / "in_domain.jsonl").write_text(text)
    (artifacts / "asymmetry.html").write_text(FIGURE)
