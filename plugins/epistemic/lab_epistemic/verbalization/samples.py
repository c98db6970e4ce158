"""The completions that the evaluator kept, as samples of a report."""

from lab_llm.evaluation.completion_files import samples_in
from labrun.runs.run_dir import RunDir
from labrun.sample import Samples

FOLDER = "verbalization/"
"""Where the evaluator's files lie among the run's artifacts."""


def samples_of(run: RunDir, section: str) -> Samples:
    """The completions of the run's last evaluation, the words of its config marked."""
    words = run.experiment().settings[section]["words"]
    return samples_in(run.artifacts / FOLDER / "completions", words=words)
