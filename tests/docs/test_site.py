"""The docs site builds without a warning, needs no network, and documents everything.

A warning of Sphinx is an error here: a page that no menu leads to, a link or an anchor that leads
nowhere, a formula that cannot be drawn.
"""

import inspect
import re
import subprocess
import sys
import tomllib
from html import unescape
from pathlib import Path

import labrun
import pytest
from labrun import contract
from labrun.runs.context import RunContext

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

from labdocs import commands, filled, keys, metrics  # noqa: E402

MADE_HERE = ("epistemic", "llm", "marl", "rlrt", "stairs")
PARTS = (contract.LabHooks, contract.Dataset, contract.Makeable, contract.Trainer)
PARTS = (*PARTS, contract.Evaluator, RunContext)


@pytest.fixture(scope="module")
def site(once) -> Path:
    """The folder of the site that `make docs` builds, and in `said` what Sphinx said."""

    def build(folder: Path) -> None:
        make = ["-q", "-W", "--keep-going", "-c", "docs", ".", str(folder / "site")]
        command = [sys.executable, "-m", "sphinx", "--no-color", *make]
        built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        (folder / "said").write_text(built.stdout + built.stderr)

    return once("site", build)


@pytest.fixture(scope="module")
def page(site):
    """`page(name)`: the text of a built page, as a reader sees it."""

    def read(name: str) -> str:
        html = (site / "site" / "docs" / f"{name}.html").read_text()
        lines = re.sub(r"<d[td]>", "\n", html[html.index("<article") :])
        return unescape(re.sub(r"<[^>]*>", "", lines))

    return read


def test_the_site_builds_without_a_warning(site):
    assert (site / "said").read_text() == ""


def test_no_page_loads_anything_from_the_network(site):
    files = [file for kind in ("html", "css") for file in (site / "site").rglob(f"*.{kind}")]
    loads = re.compile(r"""(?:src=|srcset=|url\(|@import |<link [^>]*href=)["']?(?:https?:)?//""")
    assert len(files) > 40
    assert [file.name for file in files if loads.search(file.read_text())] == []


def test_formulas_are_drawn_by_the_browser(site):
    html = (site / "site" / "docs" / "equations.html").read_text()
    displayed = (DOCS / "equations.md").read_text().count("$$\n") // 2
    assert (
        html.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') == displayed
    )
    assert "$" not in re.sub(r"<script.*?</script>", "", html, flags=re.S)


def test_every_command_is_documented_with_its_options(page):
    shown = page("reference/commands")
    known = dict(commands.commands())
    assert {"lab run", "lab runs", "lab runs show", "lab data make", "lab compare"} <= known.keys()
    for name, command in known.items():
        assert f"{name}¶" in shown
        assert command.help, f"`{name}` has no docstring"
        for words, meaning in commands.parameters(command):
            assert words in shown
            assert meaning, f"`{name}`: {words} has no help text"


def test_every_key_is_documented_with_its_meaning(page):
    for plugin in (keys.RUN, *MADE_HERE):
        shown = page("reference/keys" if plugin == keys.RUN else f"reference/keys-{plugin}")
        for title, _, rows in keys.sections(plugin):
            assert f"{title}¶" in shown
            for key in rows:
                assert f"\n{key.name}\n{key.type.replace('`', '')}. Default: " in shown
                assert key.meaning, f"{title}: {key.name} has no text below it"


def test_every_plugin_of_this_repository_has_a_page_of_keys():
    pages = {file.stem.removeprefix("keys-") for file in (DOCS / "reference").glob("keys-*.md")}
    ours = {p.parent.parent.name for p in ROOT.glob("plugins/*/lab_*/plugin.py")}
    assert pages == {*ours, "llm", "marl"} == set(MADE_HERE)


def test_every_hook_and_method_is_documented(site):
    html = (site / "site" / "docs" / "reference" / "hooks.html").read_text()
    for cls in PARTS:
        home = "labrun" if cls.__name__ in labrun.__all__ else cls.__module__
        for name, method in vars(cls).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                assert f'id="{home}.{cls.__name__}.{name}"' in html


def test_every_python_name_of_labrun_is_documented(site):
    html = (site / "site" / "docs" / "reference" / "hooks.html").read_text()
    shown = set(re.findall(r'id="labrun\.(?:\w+\.)?(\w+)"', html))
    assert set(labrun.__all__) - shown == set()


def test_every_metric_is_documented_with_definition_unit_and_range(page):
    shown, rows = page("reference/metrics"), metrics.metrics()
    assert {"loss", "pass@k", "td_loss", "collapse_step"} <= {row.name for row in rows}
    for row in rows:
        assert f"\n{row.name}\n" in shown
        assert all(row), f"a cell of {row.name} is empty"
    assert len(rows) == (DOCS / "metrics.md").read_text().count("\n| `")


def test_a_page_gets_what_its_comment_asks_for():
    assert filled("a\n<!-- from the code: keys run -->\nb").startswith("a\n## Keys\n")
    assert filled("a\n<!-- another comment -->\n") == "a\n<!-- another comment -->\n"


def test_a_type_is_written_in_words():
    from typing import Annotated, Literal

    from annotated_types import Ge, Gt, Le

    assert keys.words(Annotated[float, Gt(0), Le(1)]) == "number > 0, ≤ 1"
    assert keys.words(Annotated[int, Ge(1)] | None) == "integer ≥ 1 or `null`"
    assert keys.words(Literal["a", "b", "c"]) == "`a`, `b` or `c`"
    assert keys.words(str | tuple[str, ...]) == "text or list of text"
    assert keys.words(dict[str, int]) == "mapping to integer"


def test_a_default_is_written_as_it_is_typed():
    defaults = (None, True, "", "tiny", 5e-4, ("a", "b"), {"a": 1})
    typed = ["null", "true", "''", "tiny", "0.0005", "[a,b]", "{a: 1}"]
    assert [keys.typed(value) for value in defaults] == typed


def test_the_picture_of_the_rooms_shows_those_of_the_import_contracts():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    rooms = [layer for c in contracts for layer in c.get("layers", ()) if "containers" in c]
    picture = (DOCS / "images" / "rooms.svg").read_text()
    shown = re.findall(r"<text [^>]*>([^<]*)</text>", picture)
    assert len(rooms) > 20
    assert [room for room in rooms if room not in (*shown, "__main__")] == []
