"""A suite's file, read and checked; each refusal names the file and the line."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from labrun.config.placed_words import words_of
from labrun.config.word_files import replaced
from labrun.config.yaml_places import YamlFile
from labrun.errors import listed, nearest, shown
from labrun.suites.suite import (
    PUBLISHED_SCALE,
    UNITS,
    Row,
    Scale,
    Source,
    Suite,
    Unit,
    Words,
    unit_of,
)

PARTS = ("arms", "axes", "leave_out", "rows", "seeds")
"""What a scale may have of its own, in place of the suite's."""
TOP = ("question", "source", "expected", "notes", "common", *PARTS, "scales")
SOURCE = ("paper", "table", "of", "read_from")
ROW = ("name", "task", "metric", "unit", "at", "change", "published")
ONE_SCALE = "own"
"""Name of the scale of a suite that names none."""
DEFAULT_SEEDS = "0"
NEEDED = ("question", "arms")


def read(path: Path) -> Suite:
    """The suite of the file. Raises LabError, with file and line, for what it may not hold."""
    file = YamlFile(path)
    root = file.root()
    entries = file.entries(root, "the suite", allowed=TOP)
    return _Reader(file, root, entries).suite()


class _Reader:
    """Turns the nodes of one file into a `Suite`."""

    def __init__(self, file: YamlFile, root: yaml.Node, entries: Mapping[str, yaml.Node]) -> None:
        self.file, self.root, self.entries = file, root, entries

    def suite(self) -> Suite:
        self._refuse_missing()
        return Suite(
            name=self.file.path.stem,
            path=self.file.path,
            question=self._text("question"),
            source=self._source(),
            expected=self._text("expected"),
            notes=tuple(self._texts("notes")),
            scales=self._scales(),
        )

    def _refuse_missing(self) -> None:
        scales = self._scale_nodes()
        everywhere = bool(scales) and all("arms" in self._scale(n, s) for n, s in scales.items())
        for key in NEEDED:
            if key not in self.entries and not (key == "arms" and everywhere):
                raise self.file.refusal(f"the suite has no {key}; write {key}: ...", self.root)

    def _text(self, key: str) -> str:
        node = self.entries.get(key)
        return self.file.text(node, key) if node is not None else ""

    def _texts(self, key: str) -> list[str]:
        node = self.entries.get(key)
        return [self.file.text(n, key) for n in self.file.items(node, key)] if node else []

    def _source(self) -> Source | None:
        node = self.entries.get("source")
        if node is None:
            return None
        found = self.file.entries(node, "source", allowed=SOURCE)
        for key in SOURCE[:3]:
            if key not in found:
                raise self.file.refusal(f"source has no {key}; write {key}: ...", node)
        return Source(**{k: self.file.text(n, f"source.{k}") for k, n in found.items()})

    def _scale_nodes(self) -> Mapping[str, yaml.Node]:
        node = self.entries.get("scales")
        return self.file.entries(node, "scales") if node is not None else {}

    def _scale(self, name: str, node: yaml.Node) -> Mapping[str, yaml.Node]:
        allowed = ("toy", "overrides", "needs", *PARTS)
        return self.file.entries(node, f"scales.{name}", allowed=allowed)

    def _scales(self) -> dict[str, Scale]:
        nodes = self._scale_nodes()
        if not nodes:
            return {ONE_SCALE: self._one(ONE_SCALE, {}, self.root)}
        return {name: self._one(name, self._scale(name, n), n) for name, n in nodes.items()}

    def _one(self, name: str, own: Mapping[str, yaml.Node], node: yaml.Node) -> Scale:
        parts = {key: self.entries[key] for key in PARTS if key in self.entries} | dict(own)
        toy = self.file.text(own["toy"], f"scales.{name}.toy") if "toy" in own else ""
        arms = self._labelled(parts["arms"], "arms")
        axes = self._axes(parts.get("axes"))
        scale = Scale(
            name=name,
            toy=toy,
            overrides=tuple(
                replaced(self._words("common", self.entries), self._words("overrides", own))
            ),
            arms=arms,
            axes=axes,
            left_out=self._left_out(parts.get("leave_out"), arms, axes),
            rows=self._rows(parts.get("rows"), arms, axes),
            needs=self._needs(own.get("needs")),
            seeds=self._seeds(parts.get("seeds")),
        )
        self._check_toy(scale, node)
        return scale

    def _check_toy(self, scale: Scale, node: yaml.Node) -> None:
        if scale.name == PUBLISHED_SCALE and scale.toy:
            raise self.file.refusal("scales.paper is the published size and no toy", node)
        if scale.name != PUBLISHED_SCALE and not scale.toy and "source" in self.entries:
            text = "only the scale `paper` stands beside published numbers as it is; say under"
            raise self.file.refusal(
                f"{text} scales.{scale.name}.toy what makes this one a toy", node
            )

    def _words(self, key: str, nodes: Mapping[str, yaml.Node]) -> Words:
        return tuple(words_of(self.file, nodes[key])) if key in nodes else ()

    def _labelled(self, node: yaml.Node, what: str) -> dict[str, Words]:
        found = self.file.entries(node, what)
        if not found:
            raise self.file.refusal(f"{what} is empty; write LABEL: KEY=VALUE lines", node)
        return {label: tuple(words_of(self.file, value)) for label, value in found.items()}

    def _axes(self, node: yaml.Node | None) -> dict[str, dict[str, Words]]:
        if node is None:
            return {}
        found = self.file.entries(node, "axes")
        if "arm" in found:
            raise self.file.refusal(
                "an axis is not called arm; the arms are one by themselves", node
            )
        return {name: self._labelled(labels, f"axes.{name}") for name, labels in found.items()}

    def _left_out(
        self,
        node: yaml.Node | None,
        arms: Mapping[str, Words],
        axes: Mapping[str, Mapping[str, Words]],
    ) -> tuple[dict[str, str], ...]:
        if node is None:
            return ()
        names = {"arm": arms, **axes}
        return tuple(
            self._point(item, "leave_out", names) for item in self.file.items(node, "leave_out")
        )

    def _point(
        self, node: yaml.Node, what: str, names: Mapping[str, Mapping[str, Words]]
    ) -> dict[str, str]:
        """Axis -> label, each of which is there."""
        found = {}
        for axis, value in self.file.entries(node, what, allowed=names).items():
            found[axis] = self.file.text(value, f"{what}.{axis}")
            self._check_name(found[axis], names[axis], f"{what}.{axis}", value)
        return found

    def _check_name(self, name: str, allowed: Iterable[str], what: str, node: yaml.Node) -> None:
        names = [*allowed]
        if name not in names:
            near = nearest(name, names)
            hint = f"did you mean {near}? " if near else ""
            text = f"{what}={shown(name)}: {hint}allowed: {listed(names, most=20)}"
            raise self.file.refusal(text, node)

    def _rows(
        self,
        node: yaml.Node | None,
        arms: Mapping[str, Words],
        axes: Mapping[str, Mapping[str, Words]],
    ) -> tuple[Row, ...]:
        nodes = self.file.items(node, "rows") if node is not None else []
        rows = tuple(self._row(one, arms, axes) for one in nodes)
        for row, one in zip(rows, nodes, strict=True):
            if [other.name for other in rows].count(row.name) > 1:
                raise self.file.refusal(f"two rows are called {row.name!r}; give each a name", one)
        return rows

    def _row(
        self,
        node: yaml.Node,
        arms: Mapping[str, Words],
        axes: Mapping[str, Mapping[str, Words]],
    ) -> Row:
        found = self.file.entries(node, "a row", allowed=ROW)
        for key in ("task", "metric"):
            if key not in found:
                raise self.file.refusal(f"a row has no {key}; write {key}: ...", node)
        tasks = self._tasks(found["task"])
        metric = self.file.text(found["metric"], "metric")
        at = self._point(found["at"], "at", axes) if "at" in found else {}
        is_change = self.file.switch(found["change"], "change") if "change" in found else False
        default = " ".join(["+".join(tasks), metric, *at.values()])
        return Row(
            name=self.file.text(found["name"], "name") if "name" in found else default,
            tasks=tasks,
            metric=metric,
            unit=self._unit(found.get("unit"), "fraction" if is_change else unit_of(metric)),
            at=at,
            is_change=is_change,
            published=self._published(found.get("published"), arms),
        )

    def _tasks(self, node: yaml.Node) -> dict[str, float]:
        """The task, or several with their weights."""
        if not isinstance(node, yaml.MappingNode):
            return {self.file.text(node, "task"): 1.0}
        found = self.file.entries(node, "task")
        weights = {task: self.file.number(n, f"task.{task}") for task, n in found.items()}
        if not weights or min(weights.values()) <= 0:
            raise self.file.refusal("task: weights are above 0", node)
        return weights

    def _unit(self, node: yaml.Node | None, default: Unit) -> Unit:
        if node is None:
            return default
        text = self.file.text(node, "unit")
        self._check_name(text, UNITS, "unit", node)
        return next(unit for unit in UNITS if unit == text)

    def _published(self, node: yaml.Node | None, arms: Mapping[str, Words]) -> dict[str, float]:
        if node is None:
            return {}
        if "source" not in self.entries:
            text = "published numbers need a source: paper, table, and what they are of"
            raise self.file.refusal(text, node)
        found = self.file.entries(node, "published", allowed=arms)
        return {arm: self.file.number(n, f"published.{arm}") for arm, n in found.items()}

    def _needs(self, node: yaml.Node | None) -> dict[str, str]:
        found = self.file.entries(node, "needs") if node is not None else {}
        return {key: self.file.text(n, f"needs.{key}") for key, n in found.items()}

    def _seeds(self, node: yaml.Node | None) -> str:
        if node is None:
            return DEFAULT_SEEDS
        if isinstance(node, yaml.SequenceNode):
            return ",".join(self.file.text(item, "seeds") for item in node.value)
        return self.file.text(node, "seeds")
