"""Settings of the data sets for real models: rows of files, and reasoning-gym tasks."""

from dataclasses import field
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from labrun.schema import schema


@schema
class RowsConfig:
    """Problems with an answer that math-verify checks, from JSONL or Parquet files.

    A column may be a dotted path into structs, and through strings that hold JSON
    (`reward_model.ground_truth`). Paths are relative to where `lab` is started.
    """

    path: str | tuple[str, ...] = ""
    """Training rows: a file (.jsonl, .json with one object a line, .parquet), a glob, or a list of
    these, read in this order. Must be given."""
    evaluation: dict[str, str] = field(default_factory=dict)
    """Evaluation sets: the name that results carry -> a file or a glob. Same columns."""
    prompt_column: str = "prompt"
    """The question: text (one user message), a chat list of role and content, or a JSON string of
    such a list."""
    answer_column: str = "answer"
    """The final answer that a completion is compared with: LaTeX, text or a number."""
    solution_column: str | None = None
    """A worked solution; None: the rows have none."""
    system_prompt: str | None = None
    """The system message of every prompt, in place of the row's own; None: leave prompts alone."""
    limit: Annotated[int, Ge(1)] | None = None
    """Training rows that are used, the first ones (count); None: all."""


@schema
class ReasoningGymConfig:
    """One procedural task of reasoning-gym, with other tasks or settings as OOD sets.

    The answer counts if the task's own check gives full marks.
    """

    task: Annotated[str, MinLen(1)] = "chain_sum"
    """Name of the task in reasoning-gym."""
    task_params: dict[str, Any] = field(default_factory=dict)
    """Settings of the task by their reasoning-gym names (`max_terms: 3`); others keep its
    defaults. `seed` and `size` are set from the fields here."""
    train_size: Annotated[int, Ge(1)] = 256
    """Training problems with different questions (count)."""
    eval_size: Annotated[int, Ge(1)] = 100
    """Problems of each evaluation set; none of them is a training problem (count)."""
    seed: Annotated[int, Ge(0)] = 0
    """Chooses the problems; it is not the run's seed, so that runs share their problems."""
    ood: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further evaluation sets by name: settings that replace some of `task_params`, or, with a
    key `task`, another task with its own settings."""
    instruction: str = "Put your final answer inside <answer></answer>."
    """Follows the question after an empty line; empty: nothing follows. The answer is read from
    the answer tag, else from \\boxed{}, else from the last line."""
