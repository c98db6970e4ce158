"""Settings of the data sets for real models: rows of files, and reasoning-gym tasks."""

from dataclasses import field
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from labrun.schema import schema


@schema
class RowSet:
    """Rows whose columns differ from the training rows'; None: as the data set has it."""

    path: str | tuple[str, ...] = ""
    """A file, a glob, a cached hub data set, or a list of these."""
    prompt_column: str | None = None
    """The question's column."""
    answer_column: str | None = None
    """The final answer's column."""
    drop_prefix: str | None = None
    """Text that is removed from the question's beginning; empty: none."""
    drop_suffix: str | None = None
    """Text that is removed from the question's end; empty: none."""
    instruction: str | None = None
    """Text that follows the question; empty: none."""


@schema
class RowsConfig:
    """Problems with an answer that a grading rule checks, from JSON, CSV or Parquet files.

    A column may be a dotted path into structs, and through strings that hold JSON
    (`reward_model.ground_truth`). Paths are relative to where `lab` is started. A path
    `hub:org/name[@revision][:glob]` stands for the files of a hub data set that is already in the
    Hugging Face cache (all its Parquet files, else all its JSONL files, else all its CSV files, or
    those that the glob names): a run downloads nothing.
    """

    path: str | tuple[str, ...] = ""
    """Training rows: a file, a glob, a cached hub data set, or a list of these, read in this order.
    Must be given. Files: .jsonl (one object a line), .json (the same, or one array of objects),
    .csv and .tsv (a header, then texts), each also with .gz behind it, and .parquet. A problem is
    called `<file>/<n>` by the line that it begins in, or by its row in a Parquet file or an array,
    from 1."""
    evaluation: dict[str, str | RowSet] = field(default_factory=dict)
    """Evaluation sets: the name that results carry -> a path, or a mapping with a path and what
    differs from the training rows (prompt_column, answer_column, drop_prefix, drop_suffix,
    instruction). A name has letters, digits, `_ - . + =` and single spaces inside, and no two
    differ in case alone. None: nothing is scored."""
    prompt_column: str = "prompt"
    """The question: text (one user message), a chat list of role and content or of from and value
    (ShareGPT), or a JSON string of such a list. A content may be a list of text parts, which are
    joined. The user speaks last, unless the same column is answer_column or solution_column."""
    answer_column: str = "answer"
    """The final answer that a completion is compared with: LaTeX, text or a number. A number is
    written as mathematics with the digits of the file: 1e-05 as 0.00001, 0.10 as 0.10, 3.0 as 3;
    beyond 30 zeros as a power of ten. Of a chat, it is what the assistant says last. Blank
    answers, NaN and infinities are refused."""
    reward: str = "math_verify"
    """The rule of the training reward (docs/grading.md): math_verify, the mathematics of the final
    answer; published, the training reward of arXiv 2603.24472's code; or `module:function` of an
    installed package, which gets texts and gives a number from 0 to 1."""
    evaluation_reward: str = "same"
    """The rule that scores evaluation sets and everything else that is no training reward, named
    as for `reward`; same: that of `reward`."""
    solution_column: str | None = None
    """A worked solution; None: the rows have none."""
    system_prompt: str | None = None
    """The system message of every prompt, in place of the row's own; None: leave prompts alone."""
    drop_prefix: str = ""
    """Text that is removed from the beginning of the last message if it is there (a set's own
    instruction); empty: none."""
    drop_suffix: str = ""
    """Text that is removed from the end of the last message if it is there; empty: none."""
    instruction: str = ""
    """Follows the last message on a line of its own; empty: nothing follows."""
    unique: bool = False
    """Drop training rows whose last message was seen in an earlier row (the hub's DAPO-Math-17k
    holds each problem about a hundred times)."""
    limit: Annotated[int, Ge(1)] | None = None
    """Training problems that are used, the first ones (count); None: all."""
    score_seen: bool = False
    """Score the training problems too, as a set `seen`; equal problems count once."""


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
    """Problems of each evaluation set, other than the training problems (count)."""
    seed: Annotated[int, Ge(0)] = 0
    """Chooses the problems; it is not the run's seed, so that runs share their problems."""
    ood: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further evaluation sets by name (as in llm.rows): settings that replace some of
    `task_params`, or, with a key `task`, another task with its own settings."""
    instruction: str = "Put your final answer inside <answer></answer>."
    """Follows the question after an empty line; empty: nothing follows. The answer is read from
    the answer tag, else from \\boxed{}, else as `bare_answer` says."""
    bare_answer: Literal["line", "number"] = "line"
    """The answer of a completion without tag and box: its last line, or the last number in it."""
