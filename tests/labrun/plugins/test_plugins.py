import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
from labrun.errors import LabError
from labrun.plugins import discovery as plugins

SOUND = """
from labrun import Component, PluginInfo, hookimpl

@hookimpl
def lab_plugin():
    return PluginInfo(
        name="{name}",
        summary="a plugin of a test",
        components=(Component(kind="evaluator", name="length", config="a:A", factory="a:B"),),
        defaults={{"trainer": "t", "dataset": "d", "evaluator": "length"}},
    )
"""


@pytest.fixture
def install(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Puts a distribution with one plugin module on the path."""

    def put(name: str, source: str, *, distribution: str = "", version: str = "0.1") -> Path:
        distribution = distribution or f"lab-{name}"
        folder = tmp_path / distribution
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata)
        module = f"{distribution.replace('-', '_')}_plugin"
        (info / "entry_points.txt").write_text(f"[labrun]\n{name} = {module}\n")
        (folder / f"{module}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(folder)
        return folder

    yield put
    plugins.load.cache_clear()


def message(name: str) -> str:
    with pytest.raises(LabError) as error:
        plugins.load(name)
    return str(error.value)


def test_installed_reads_metadata_and_imports_no_plugin(install):
    install("lazy", "raise RuntimeError('imported')", version="3.1")
    (claim,) = plugins.installed()["lazy"]
    assert (claim.module, claim.distribution, claim.version) == (
        "lab_lazy_plugin",
        "lab-lazy",
        "3.1",
    )
    assert "lab_lazy_plugin" not in sys.modules


def test_the_list_of_plugins_is_read_without_what_describes_them():
    code = "import sys, labrun.cli.installed as i; i.show(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "rlrt" in done.stdout
    assert {"pluggy", "typer", "labrun.contract", "labrun.plugins.discovery"}.isdisjoint(
        done.stderr.split()
    )


def test_load_imports_only_the_plugin_that_is_asked_for(install):
    install("one", SOUND.format(name="one"))
    install("two", SOUND.format(name="two"))
    assert plugins.load("one").summary == "a plugin of a test"
    assert "lab_one_plugin" in sys.modules
    assert "lab_two_plugin" not in sys.modules


def test_broken_plugin_is_named_with_its_cause_when_asked_for(install):
    folder = install("brittle", "import a_module_that_is_missing")
    assert message("brittle") == (
        "plugin 'brittle' (lab-brittle 0.1) is broken: ModuleNotFoundError: No module named "
        f"'a_module_that_is_missing' ({folder}/lab_brittle_plugin.py, line 1); "
        "mend it or `pip uninstall lab-brittle`"
    )


def test_other_plugins_work_beside_a_broken_one(install):
    install("brittle", "raise RuntimeError('no licence')")
    install("sound", SOUND.format(name="sound"))
    names = [info.name for info in plugins.usable()]
    assert "sound" in names
    assert "brittle" not in names
    assert list(plugins.broken()) == ["brittle"]
    assert "RuntimeError: no licence" in plugins.broken()["brittle"]
    assert plugins.find("evaluator", "length", plugins.load("sound"))[0] == "sound.length"


def test_two_distributions_with_one_name_are_both_named(install):
    install("twice", SOUND.format(name="twice"), distribution="lab-first", version="1.0")
    install("twice", SOUND.format(name="twice"), distribution="lab-second", version="2.0")
    text = message("twice")
    assert text.startswith("plugin 'twice' is claimed by ")
    assert "lab-first 1.0" in text
    assert "lab-second 2.0" in text


def test_lab_plugins_marks_a_conflict_and_lists_a_broken_plugin(install, lab_here):
    install("twice", SOUND.format(name="twice"), distribution="lab-first")
    install("twice", SOUND.format(name="twice"), distribution="lab-second")
    install("brittle", "raise RuntimeError")
    listed = lab_here("plugins")
    assert listed.returncode == 0
    lines = {line.split()[0]: line for line in listed.stdout.splitlines()}
    assert lines["twice"].endswith("CONFLICT: uninstall one")
    assert "lab-brittle 0.1" in lines["brittle"]


def test_one_distribution_seen_twice_on_the_path_is_one_claim(install, monkeypatch):
    folder = install("again", SOUND.format(name="again"))
    link = folder.with_name("link")
    link.symlink_to(folder)
    monkeypatch.syspath_prepend(link)
    assert len(plugins.installed()["again"]) == 1
    assert plugins.load("again").name == "again"


def test_misspelt_hook_is_named(install):
    source = SOUND.format(name="misspelt").replace("lab_plugin", "lab_plugni")
    install("misspelt", source)
    assert "unknown hook 'lab_plugni'" in message("misspelt")


def test_module_without_the_hook_is_told_what_is_missing(install):
    install("empty", "")
    assert "its module must implement the hook lab_plugin() with @labrun.hookimpl" in message(
        "empty"
    )


def test_plugin_that_describes_another_name_is_broken(install):
    install("alias", SOUND.format(name="other"))
    assert "entry point 'alias' describes itself as 'other'" in message("alias")


def test_plugin_of_another_api_version_is_broken(install):
    source = SOUND.format(name="future").replace("summary=", "api_version=99, summary=")
    install("future", source)
    assert "written for plugin API 99, this labrun has 1" in message("future")


def test_plugin_without_a_default_of_each_kind_is_broken(install):
    source = SOUND.format(name="bare").replace('"trainer": "t", ', "")
    install("bare", source)
    assert "PluginInfo.defaults names no trainer" in message("bare")


def test_unknown_plugin_gets_its_nearest_neighbour_and_the_list():
    text = message("rlr")
    assert text.startswith("no plugin 'rlr'; did you mean 'rlrt'? installed: ")
    assert "llm" in text.split("installed: ")[1].split(", ")


def test_component_offered_by_two_other_plugins_must_be_qualified(install):
    install("one", SOUND.format(name="one"))
    install("two", SOUND.format(name="two"))
    home = plugins.load("rlrt")
    with pytest.raises(LabError) as error:
        plugins.find("evaluator", "length", home)
    assert str(error.value) == (
        "evaluator 'length' is offered by several plugins; "
        "write evaluator=one.length or evaluator=two.length"
    )
    assert plugins.find("evaluator", "two.length", home)[0] == "two.length"


def test_home_plugin_s_component_comes_before_others_of_that_name(install):
    install("one", SOUND.format(name="one"))
    install("two", SOUND.format(name="two"))
    assert plugins.find("evaluator", "length", plugins.load("two"))[0] == "two.length"


def test_importing_labrun_imports_no_plugin_of_this_environment():
    code = (
        "import sys; from labrun.plugins import discovery; "
        "print(discovery.installed().keys(), *sys.modules)"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "rlrt" in seen
    assert "lab_rlrt" not in seen.split()
    assert "lab_llm" not in seen.split()


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import sys; sys.exit(0)", "SystemExit: its code calls sys.exit(0)"),
        ("import sys; sys.exit('no licence')", "SystemExit: its code calls sys.exit('no licence')"),
        ("raise SystemExit", "SystemExit: its code calls sys.exit(None)"),
        ("exit(3)", "SystemExit: its code calls sys.exit(3)"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("import asyncio; raise asyncio.CancelledError('late')", "CancelledError: late"),
        ("import pytest; pytest.skip('not here', allow_module_level=True)", "Skipped: not here"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        ("def lab_plugin(:", "SyntaxError: invalid syntax"),
        ("raise MemoryError", "MemoryError"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_a_plugin_that_ends_its_import_in_any_way_is_named_and_harms_no_other(
    install, source, cause
):
    install("brittle", source)
    install("sound", SOUND.format(name="sound"))
    said = message("brittle")
    assert said.startswith(f"plugin 'brittle' (lab-brittle 0.1) is broken: {cause}")
    assert said.endswith("; mend it or `pip uninstall lab-brittle`")
    assert "\n" not in said
    assert "sound" in [info.name for info in plugins.usable()]
    assert plugins.broken() == {"brittle": said}


def test_a_plugin_whose_hook_exits_is_broken(install):
    source = SOUND.format(name="leaving")
    install("leaving", source.replace("    return", "    exit(0)\n    return"))
    assert "SystemExit: its code calls sys.exit(0)" in message("leaving")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import sys; sys.exit(0)", "SystemExit: its code calls sys.exit(0)"),
        ("import a_missing_module", "ModuleNotFoundError: No module named 'a_missing_module'"),
        ("", "AttributeError: "),
    ],
)
def test_a_component_that_cannot_be_loaded_is_one_line(install, source, cause):
    folder = install("parts", SOUND.format(name="parts"))
    (folder / "parts_that_exit.py").write_text(source)
    with pytest.raises(LabError) as error:
        plugins.resolve("parts_that_exit:Config")
    said = f"a plugin's parts_that_exit:Config cannot be loaded: {cause}"
    assert str(error.value).startswith(said)
    assert "`python -c 'import parts_that_exit'` shows where" in str(error.value)
    sys.modules.pop("parts_that_exit", None)


def test_an_interrupt_by_the_user_is_no_fault_of_a_plugin(install):
    install("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugins.load("slow")


@pytest.mark.usefixtures("example")
def test_commands_work_beside_plugins_that_exit_at_import(install, lab, monkeypatch):
    folders = [
        install("leaving", "import sys; sys.exit(0)"),
        install("rude", "import os; os._exit(3)"),
        install("crashing", "import os; os.abort()"),
    ]
    search = [*map(str, folders), os.environ["PYTHONPATH"]]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(search))
    dry = lab("run", "plugin=example", "--dry-run")
    assert dry.returncode == 0
    assert "plan: 1 run(s) of plugin example" in dry.stdout
    assert lab("plugins").stdout.count("lab-") >= 3
    asked = lab("run", "plugin=leaving", "--dry-run")
    assert asked.returncode == 2
    assert asked.stderr.startswith("lab: plugin 'leaving' (lab-leaving 0.1) is broken: SystemExit")
    checked = lab("doctor")
    assert checked.returncode == 2
    lines = {line.split()[2]: line for line in checked.stdout.splitlines() if " plugin " in line}
    assert "its code calls sys.exit(0)" in lines["leaving"]
    assert "its import ends the process at once (exit code 3)" in lines["rude"]
    assert "its import ends the process at once (signal 6)" in lines["crashing"]
    assert lines["example"].startswith("ok")


@pytest.mark.usefixtures("example")
def test_a_misspelt_key_is_explained_beside_a_plugin_that_exits(install, lab_here):
    install("leaving", "import sys; sys.exit(0)")
    asked = lab_here("run", "plugin=example", "nois=1", "--dry-run")
    assert asked.returncode == 2
    assert asked.stderr.startswith("lab: no key 'nois'")


@pytest.mark.parametrize("package", ["labrun", "lab_llm", "lab_marl"])
def test_the_packages_that_an_author_imports_carry_their_types(package):
    assert (files(package) / "py.typed").is_file()
