"""The scores of a study's ended runs in one CSV file, so that it goes on on another machine."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from labrun.runs.run_dir import RunDir, all_runs, group_of, home

ENDED = ("done", "diverged")
"""States of a run that is not started again."""
Key = tuple[str, ...]
"""What tells a run from the others of its group, as text."""
Row = dict[str, str]
"""One score of one run at its last step; a run without scores has one row with an empty value."""
SCORE = ("state", "commit", "task", "metric", "value")


@dataclass(frozen=True)
class Record:
    """The file, and the columns that name a run within its group."""

    path: Path
    columns: Mapping[str, Callable[[RunDir], str]]

    def rows(self) -> list[Row]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def key_of(self, row: Row) -> Key:
        return tuple(row[name] for name in self.columns)

    def key(self, run: RunDir) -> Key:
        return tuple(read(run) for read in self.columns.values())

    def remaining(self, group: str, keys: Iterable[Key]) -> tuple[list[Key], list[str]]:
        """The keys that have no run anywhere, and the runs of this machine that have not ended."""
        ended = {self.key_of(row) for row in self.rows() if row["group"] == group}
        begun = {self.key(run): run for run in runs_of(group)}
        stopped = [run.id for run in begun.values() if run.status().state not in ENDED]
        return [key for key in keys if key not in ended and key not in begun], stopped

    def finish(
        self,
        group: str,
        keys: Sequence[tuple[str, str]],
        words: Sequence[str],
        *,
        dry: bool,
        shorter: str = "",
    ) -> None:
        """Run what is left of a group of (method, seed), seed by seed; exits where a run does not
        end. `dry`: only say what is left.

        `shorter`: a group of the same runs with fewer steps. Those of them that ended on this
        machine are gone on from, which gives the same run; `words` hold `max_steps`.
        """
        left, stopped = self.remaining(group, keys)
        print(f"{group}: {len(keys)} runs, {len(left) + len(stopped)} left", flush=True)
        if dry or not (left or stopped):
            return
        if stopped:
            lab("resume", *stopped)
        begun = {self.key(run): run.id for run in runs_of(shorter) if run.status().state == "done"}
        more = [f"group={group}", *(word for word in words if word.startswith("max_steps="))]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            parents = [begun[key] for key in left if key in begun]
            jobs = [threads.submit(lab, "run", "--from", parent, *more) for parent in parents]
            for _ in as_completed(jobs):
                self.keep([group])
        for seed in dict.fromkeys(seed for _, seed in left):
            methods = [method for method, of in left if of == seed and (method, of) not in begun]
            if methods:
                arms = (f"method={','.join(methods)}", f"seed={seed}", f"group={group}")
                lab("run", "-m", *arms, *words)
                self.keep([group])
        left, stopped = self.remaining(group, keys)
        if left or stopped:
            sys.exit(f"{group}: {len(left) + len(stopped)} runs did not end; start it again")

    def keep(self, groups: Iterable[str]) -> None:
        """Add the scores of the runs that have ended on this machine."""
        rows = self.rows()
        kept = {(row["group"], *self.key_of(row)) for row in rows}
        for group in groups:
            for run in runs_of(group):
                if (group, *self.key(run)) not in kept and run.status().state in ENDED:
                    rows += self._rows_of(group, run)
        if rows:
            with self.path.open("w", newline="") as file:
                names = ("group", *self.columns, *SCORE)
                writer = csv.DictWriter(file, names, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)

    def _rows_of(self, group: str, run: RunDir) -> list[Row]:
        commit = json.loads((run.path / "provenance.json").read_text())["git_commit"]
        common = {"group": group, **dict(zip(self.columns, self.key(run), strict=True))}
        common |= {"state": run.status().state, "commit": str(commit)}
        last = [
            {"task": task, "metric": metric, "value": f"{steps[max(steps)].value:.6g}"}
            for (task, metric), steps in sorted(run.scores().items())
        ]
        return [common | score for score in last or [{"task": "", "metric": "", "value": ""}]]


def runs_of(group: str) -> list[RunDir]:
    return [run for run in all_runs(home()) if group_of(run) == group]


def method_of(run: RunDir) -> str:
    return run.experiment().choices["method"]


def seed_of(run: RunDir) -> str:
    return str(run.experiment().run.seed)


def lab(*words: str) -> None:
    """One command; what it did not finish is counted afterwards."""
    print("lab", *words, flush=True)
    subprocess.run([sys.executable, "-m", "labrun.cli", *words], check=False)
