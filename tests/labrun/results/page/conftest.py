"""Runs of a language model by hand, their report, and the page as a reader's program sees it."""

import json
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from labrun.experiment import Experiment, RunConfig
from labrun.results.page.making import Asked, make
from labrun.runs import run_dir
from labrun.runs.run_dir import RunDir
from rich.console import Console

VOID = {"meta", "img", "br", "path", "use", "rect"}


class Seen(HTMLParser):
    """What a page holds: tags, attributes, and the text of each section outside its style."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: dict[str, int] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.text: dict[str, str] = {"": ""}
        self.cells: list[list[str]] = []
        self.marked: list[str] = []
        self.open: list[str] = []
        self._section = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "section":
            self._section = dict(attrs).get("id") or "extra"
            self.text.setdefault(self._section, "")
        elif tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th"):
            self.cells[-1].append("")
        elif tag == "mark":
            self.marked.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.open.pop() == tag, f"</{tag}> closes another element"
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text[self._section] += data
        if "td" in self.open or "th" in self.open:
            self.cells[-1][-1] += data
        if "mark" in self.open:
            self.marked[-1] += data

    @property
    def rows(self) -> list[list[str]]:
        return [[" ".join(cell.split()) for cell in row] for row in self.cells]

    def words(self, section: str) -> str:
        return " ".join(self.text[section].split())


@pytest.fixture
def language_run(tmp_path) -> Callable[..., RunDir]:
    """A done run of two sets, whose evaluator kept `completions`."""

    def made(
        *events: Mapping[str, Any],
        completions: Mapping[str, Sequence[Mapping[str, Any]]] = {},
        seed: int = 0,
        method: str = "grpo",
        group: str = "g",
        overrides: Sequence[str] = (),
        settings: Mapping[str, Any] = {},
        state: str = "done",
        message: str = "",
        evaluator: str = "llm.accuracy",
    ) -> RunDir:
        words = ("plugin=rlrt", f"method={method}", f"seed={seed}", *overrides)
        experiment = Experiment(
            plugin="rlrt",
            run=RunConfig(seed=seed, group=group),
            settings={"trainer": {"max_steps": 3, **settings}, "evaluator.accuracy": {}},
            components={"trainer": "rlrt.rlrt", "evaluator.accuracy": evaluator},
            choices={"method": method},
            overrides=words,
        )
        run = run_dir.create(experiment, root=tmp_path / "home")
        lines = "".join(json.dumps(event) + "\n" for event in events)
        (run.path / "events.jsonl").write_text(lines)
        for task, kept in completions.items():
            path = run.artifacts / "completions" / f"{task}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(one) + "\n" for one in kept))
        run.write_status(state=state, message=message)
        return run

    return made


def completion(text: str, *, of: str = "p1", correct: float = 1.0, **rest: Any) -> dict[str, Any]:
    """A line of completions as the evaluator writes it."""
    prompt = rest.pop("prompt", f"question {of}")
    return {
        "id": of,
        "sample": 0,
        "prompt": [{"role": "user", "content": prompt}],
        "gold": "18",
        "completion": text,
        "tokens": 5,
        "correct": correct,
        **rest,
    }


@pytest.fixture
def said() -> Callable[..., dict[str, Any]]:
    return completion


@pytest.fixture
def report(tmp_path) -> Callable[..., Seen]:
    """`report(runs, ...)`: the page of these runs, read back; its file is `report.path`."""

    def made(runs: Sequence[RunDir], **asked: Any) -> Seen:
        made.path = make(
            runs,
            tmp_path / "home",
            Console(quiet=True),
            asked=Asked(**asked),
            path=tmp_path / "report.html",
        )
        return Seen(Path(made.path).read_text())

    return made
