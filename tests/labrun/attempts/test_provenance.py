"""Where a run came from: every repository whose code it uses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from labrun.attempts import provenance
from labrun.experiment import Experiment, RunConfig
from labrun.plugins import discovery as plugins
from labrun.runs.run_dir import create

PLUGIN = """
from labrun import Component, PluginInfo, hookimpl

@hookimpl
def lab_plugin():
    kinds = ("trainer", "evaluator")
    parts = [Component(k, "t", config="x:C", factory="{package}.parts:T") for k in kinds]
    return PluginInfo(
        name="{name}", summary="", components=parts,
        defaults={{"trainer": "t", "dataset": "t", "evaluator": "t"}},
    )
"""


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=A", "-c", "user.email=a@b"]
    asked = ["git", "-C", str(folder), *names, *words]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a plugin into a folder, with the metadata that pip would write, and on the path."""

    def make(name: str, folder: Path, *, distribution: str | None = None) -> Path:
        package = folder / f"lab_{name}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "parts.py").write_text("T = C = None\n")
        text = PLUGIN.format(name=name, package=package.name)
        (package / "plugin.py").write_text(text)
        info = tmp_path / "site" / f"{(distribution or f'lab_{name}')}-0.1.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        known = (
            (info / "entry_points.txt").read_text() if (info / "entry_points.txt").exists() else ""
        )
        line = f"{name} = {package.name}.plugin\n"
        (info / "entry_points.txt").write_text((known or "[labrun]\n") + line)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution or f'lab-{name}'}\nVersion: 0.1\n"
        )
        monkeypatch.syspath_prepend(tmp_path / "site")
        monkeypatch.syspath_prepend(folder)
        return package

    yield make
    plugins.load.cache_clear()
    for module in [name for name in sys.modules if name.startswith("lab_prov")]:
        del sys.modules[module]


def commit(folder: Path) -> str:
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return git(folder, "rev-parse", "HEAD")


def recorded(tmp_path, *names: str) -> tuple[Path, dict, dict]:
    """The run's folder, its provenance, and the repositories in it by their first distribution."""
    sections = ["trainer", "evaluator.t"]
    parts = {section: f"{name}.t" for section, name in zip(sections, names, strict=False)}
    experiment = Experiment(
        plugin=names[0],
        run=RunConfig(),
        settings={},
        components=parts,
        choices={},
        overrides=(),
        defaults=("max_retries=2 (/me/defaults.yaml, line 1)",),
    )
    run = create(experiment, root=tmp_path / "home")
    provenance.record(run, seed=3)
    facts = json.loads((run.path / "provenance.json").read_text())
    return run.path, facts, {one["distributions"][0]: one for one in facts["repositories"]}


def test_a_plugin_s_own_repository_is_recorded_with_its_commit_and_diff(install, tmp_path):
    package = install("prova", tmp_path / "repo")
    head = commit(tmp_path / "repo")
    (package / "parts.py").write_text("T = C = 'changed by hand'\n")
    (package / "new.py").write_text("x = 1\n")
    (tmp_path / "repo" / "notes.txt").write_text("no code of the plugin\n")
    folder, facts, found = recorded(tmp_path, "prova")
    assert facts["defaults"] == ["max_retries=2 (/me/defaults.yaml, line 1)"]
    assert found["lab-prova"] == {
        "root": str(tmp_path / "repo"),
        "distributions": ["lab-prova"],
        "commit": head,
        "changed": True,
        "diff": "code-lab-prova.diff",
        "untracked": ["lab_prova/new.py"],
    }
    assert "+T = C = 'changed by hand'" in (folder / "code-lab-prova.diff").read_text()
    assert facts["seed"] == 3
    assert facts["git_commit"] == git(Path(provenance.__file__).parent, "rev-parse", "HEAD")
    assert found["labrun"]["commit"] == facts["git_commit"]


def test_a_clean_repository_has_no_diff(install, tmp_path):
    install("provb", tmp_path / "repo")
    head = commit(tmp_path / "repo")
    folder, _, found = recorded(tmp_path, "provb")
    one = found["lab-provb"]
    assert (one["commit"], one["changed"], one["diff"]) == (head, False, None)
    assert not list(folder.glob("code-*.diff"))


def test_two_plugins_of_one_repository_are_one_entry(install, tmp_path):
    for name in ("provc", "provd"):
        install(name, tmp_path / "repo" / name)
    head = commit(tmp_path / "repo")
    _, facts, found = recorded(tmp_path, "provc", "provd")
    assert found["lab-provc"]["distributions"] == ["lab-provc", "lab-provd"]
    assert found["lab-provc"]["commit"] == head
    assert len(facts["repositories"]) == 2


def test_a_plugin_without_repository_or_ignored_in_one_is_not_another_s_commit(install, tmp_path):
    install("prove", tmp_path / "plain")
    install("provf", tmp_path / "repo" / ".venv" / "lib")
    (tmp_path / "repo" / "other.py").write_text("")
    (tmp_path / "repo" / ".gitignore").write_text(".venv\n")
    commit(tmp_path / "repo")
    _, _, found = recorded(tmp_path, "prove", "provf")
    assert set(found) == {"labrun"}


def test_a_repository_without_a_commit_lists_its_code(install, tmp_path):
    install("provg", tmp_path / "repo")
    git(tmp_path / "repo", "init", "-q")
    _, _, found = recorded(tmp_path, "provg")
    one = found["lab-provg"]
    assert (one["commit"], one["changed"], one["diff"]) == (None, True, None)
    assert "lab_provg/plugin.py" in one["untracked"]


def test_a_diff_that_is_no_utf_8_is_kept_as_it_is(install, tmp_path):
    package = install("provh", tmp_path / "repo")
    (package / "words.txt").write_text("a\n")
    commit(tmp_path / "repo")
    (package / "words.txt").write_bytes(b"caf\xe9\n")
    folder, _, _ = recorded(tmp_path, "provh")
    assert b"+caf\xe9" in (folder / "code-lab-provh.diff").read_bytes()
