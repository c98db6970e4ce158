"""What is killed: tiny runs of every plugin, of two ranks, and of the NumPy example."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "example_plugin"
MODEL = ("artifacts/model/model.safetensors", "artifacts/**/completions/*.jsonl")
OPTIMIZER = ("checkpoints/*/checkpoint-4/optimizer.pt", "checkpoints/*/checkpoint-4/scheduler.pt")


@dataclass(frozen=True)
class Subject:
    """One spec, and where its end lies: files that equal runs have equal, byte by byte."""

    name: str
    words: tuple[str, ...]
    weights: tuple[str, ...]
    """Patterns below the run directory of what was learned."""
    stages: tuple[str, ...]
    """What `progress.json` says on the way."""
    ranks: int = 1


def _language(name: str, *words: str, ranks: int = 1) -> Subject:
    small = ("seed=3", "max_steps=4", "save_every=2", "evaluate_every=2", "learning_rate=1e-3")
    rollouts = ("prompts_per_step=2", "num_generations=4", "micro_batch_size=4")
    rollouts += ("max_completion_length=40",)
    stages = ("load", "sample", "update", "evaluate", "checkpoint")
    return Subject(name, (*words, *small, *rollouts), (*MODEL, *OPTIMIZER), stages, ranks)


LINE = ("plugin=example", "method=momentum", "evaluator=[mse,mae]", "seed=3", "max_steps=8")
AGENTS = ("plugin=stairs", "seed=3", "max_steps=6", "target_update_every=3", "figures=false")
TASKS = ("dataset.train_tasks=[cn-2,cn-3]", "dataset.test_tasks=[cn-2,cn-4]", "num_episodes=8")
SIZES = ("network.width=8", "batch_size=4", "rollout.episodes=2")
ACCURACY = ("max_problems=4", "accuracy.num_samples=1", "accuracy.max_new_tokens=12")
VERBALIZATION = tuple(word.replace("accuracy", "verbalization") for word in ACCURACY)


def _line(name: str, *words: str) -> Subject:
    stages = ("load", "train", "evaluate", "checkpoint")
    weights = ("checkpoints/00000008/state.json",)
    return Subject(name, (*LINE, "save_every=2", *words), weights, stages)


ALL = (
    _line("example", "sleep_s=0.05"),
    _line("slow example", "sleep_s=0.5"),
    Subject(
        "stairs",
        (*AGENTS, *TASKS, *SIZES, "save_every=2", "evaluate_every=4"),
        weights=("artifacts/learner.pt",),
        stages=("load", "make data", "train", "evaluate", "checkpoint"),
    ),
    _language("rlrt", "plugin=rlrt", *ACCURACY),
    _language("epistemic", "plugin=epistemic", "method=sdpo", *VERBALIZATION),
    _language("ranks", "plugin=rlrt", *ACCURACY, "num_processes=2", ranks=2),
)
SUBJECTS: Mapping[str, Subject] = {subject.name: subject for subject in ALL}
ROUND = ("example", "stairs", "example", "rlrt", "example", "stairs")
ROUND += ("example", "epistemic", "example", "stairs", "example", "ranks")
"""Which subject a seed kills. Those that import torch are few: a start costs seconds of CPU."""


def subject_of(seed: int, turns: Sequence[str] = ROUND) -> Subject:
    return SUBJECTS[turns[seed % len(turns)]]


def install_example(folder: Path) -> list[Path]:
    """The search path under which the example plugin is an installed distribution."""
    about = folder / "labrun_example-1.2.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: labrun-example\nVersion: 1.2.0\n")
    (about / "entry_points.txt").write_text("[labrun]\nexample = example_plugin.plugin\n")
    return [folder, EXAMPLE]
