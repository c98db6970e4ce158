"""What is counted over all trials, and the line that says it."""

from collections import Counter
from dataclasses import dataclass, field

COUNTED = ("trials", "kills", "resumes")
FAULTS = {
    "weights": "{} different weights",
    "metrics": "{} metrics",
    "scores": "{} scores",
    "lacking": "{} points that MLflow lacks",
    "twice": "{} it has twice",
    "states": "{} wrong states",
    "processes": "{} processes left",
    "locks": "{} locks left",
}


@dataclass
class Findings:
    """Counts by name, and a sentence for each fault."""

    counts: Counter[str] = field(default_factory=Counter)
    sentences: list[str] = field(default_factory=list)

    def count(self, name: str) -> None:
        assert name in COUNTED, name
        self.counts[name] += 1

    def fault(self, name: str, sentence: str, *, times: int = 1) -> None:
        """Count a fault of this kind `times` times; none at 0."""
        assert name in FAULTS, name
        if times:
            self.counts[name] += times
            self.sentences.append(sentence)

    def add(self, other: "Findings") -> None:
        self.counts += other.counts
        self.sentences += other.sentences

    @property
    def clean(self) -> bool:
        return not any(self.counts[name] for name in FAULTS)

    def line(self) -> str:
        """One line: trials, kills and resumes, then every fault, each of which should be 0."""
        begun = ", ".join(f"{self.counts[name]} {name}" for name in COUNTED)
        faults = ", ".join(text.format(self.counts[name]) for name, text in FAULTS.items())
        return f"{begun}: {faults}"
