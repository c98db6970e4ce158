"""What every installed plugin keeps to: the contract, and what our own keep to besides."""

import itertools
import json
import subprocess
import sys

import pytest
from labrun.config import contract_check
from labrun.config.contract_check import HEAVY, schemas, without_meaning
from labrun.config.experiments import compose, preset_groups
from labrun.experiment import RunConfig
from labrun.plugins import discovery as plugins

NAMES = list(plugins.installed())

every_plugin = pytest.mark.parametrize("name", NAMES)


def in_process_of_its_own(code: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@every_plugin
def test_description_and_settings_are_read_without_a_heavy_library(name):
    code = (
        "import json, sys; from labrun.plugins import discovery as plugins;"
        "from labrun.config.experiments import compose;"
        "info = plugins.load(sys.argv[1]);"
        "[plugins.resolve(c.config) for c in info.components];"
        "compose(['plugin=' + info.name]);"
        "print(json.dumps(sorted(sys.modules)))"
    )
    modules = {m.split(".")[0] for m in json.loads(in_process_of_its_own(code, name))}
    assert modules & HEAVY == set()


@every_plugin
def test_it_keeps_to_the_contract(name):
    assert contract_check.faults(name) == []


@every_plugin
def test_methods_of_one_plugin_differ_in_their_settings(name):
    methods = preset_groups(plugins.load(name)).get("method", [])
    settings = [compose([f"plugin={name}", f"method={m}"]).settings for m in methods]
    assert len({json.dumps(s, sort_keys=True) for s in settings}) == len(methods)


@every_plugin
def test_description_names_a_headline_and_each_component_a_summary(name):
    info = plugins.load(name)
    assert info.headline
    assert all(component.summary for component in info.components)


@pytest.mark.parametrize("cls", schemas(RunConfig), ids=lambda cls: cls.__name__)
def test_every_key_of_every_run_has_a_meaning(cls):
    assert without_meaning(cls) == []


def method_by_scale(name: str) -> list[list[str]]:
    groups = preset_groups(plugins.load(name))
    axes = [[f"{g}={n}" for n in groups[g]] for g in ("method", "scale") if g in groups]
    points = [list(point) for point in itertools.product(*axes)]
    return [point for point in points if not is_of_two_trainers(name, point)]


def is_of_two_trainers(name: str, point: list[str]) -> bool:
    """Of epistemic's scales `paper_sft` is for its trainer sft, `paper` and `paper_richness` are
    for its trainer onpolicy."""
    chosen = dict(word.split("=") for word in point)
    is_sft = chosen.get("method", "").startswith("sft_")
    others = ("paper", "paper_richness") if is_sft else ("paper_sft",)
    return name == "epistemic" and chosen["scale"] in others


@pytest.mark.parametrize(
    ("name", "presets"),
    [
        pytest.param(name, presets, id=" ".join([name, *presets]))
        for name in NAMES
        for presets in method_by_scale(name)
    ],
)
def test_every_method_composes_at_every_scale(name, presets):
    experiment = compose([f"plugin={name}", *presets])
    for preset in presets:
        group, choice = preset.split("=")
        assert experiment.choices[group] == choice


@every_plugin
def test_default_run_passes_its_dry_run(name, lab_here, home):
    planned = lab_here("run", f"plugin={name}", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    runs = {"epistemic": 2}.get(name, 1)  # GRPO and SDPO
    assert planned.stdout.startswith(f"plan: {runs} run(s) of plugin {name}; nothing was started")
    assert not home.exists()
