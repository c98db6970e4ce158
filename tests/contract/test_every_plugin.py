"""What every installed plugin keeps to."""

import dataclasses
import itertools
import json
import subprocess
import sys

import pytest
from labrun import plugins
from labrun.config import compose, preset_groups, to_plain, typed
from labrun.contract import KINDS, Dataset, Evaluator, Trainer
from labrun.describe import field_meanings
from labrun.run_config import RunConfig
from labrun.schema import STRICT

PROTOCOLS = {"trainer": Trainer, "dataset": Dataset, "evaluator": Evaluator}
HEAVY = {"torch", "transformers", "trl", "mlflow", "datasets", "accelerate", "matplotlib"}
NAMES = list(plugins.installed())

every_plugin = pytest.mark.parametrize("name", NAMES)


def in_process_of_its_own(code: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@every_plugin
def test_description_and_settings_are_read_without_a_heavy_library(name):
    code = (
        "import json, sys; from labrun import plugins; from labrun.config import compose;"
        "info = plugins.load(sys.argv[1]);"
        "[plugins.resolve(c.config) for c in info.components];"
        "compose(['plugin=' + info.name]);"
        "print(json.dumps(sorted(sys.modules)))"
    )
    modules = {m.split(".")[0] for m in json.loads(in_process_of_its_own(code, name))}
    assert modules & HEAVY == set()


@every_plugin
def test_description_names_a_summary_headline_and_existing_defaults(name):
    info = plugins.load(name)
    assert info.summary
    assert info.headline
    assert all(component.summary for component in info.components)
    for kind in KINDS:
        qualified, component = plugins.find(kind, info.defaults[kind], info)
        assert component.kind == kind
        assert qualified.endswith(f".{component.name}")


@every_plugin
def test_chosen_presets_exist(name):
    info = plugins.load(name)
    groups = preset_groups(info)
    for group, choice in info.groups.items():
        assert choice in groups[group]


def schemas(cls: type) -> list[type]:
    """The dataclass and those inside it."""
    inner = [type(v) for v in vars(cls()).values() if dataclasses.is_dataclass(v)]
    return [cls, *itertools.chain.from_iterable(schemas(c) for c in inner)]


def settings_of(name: str) -> list[type]:
    return [
        cls
        for component in plugins.load(name).components
        for cls in schemas(plugins.resolve(component.config))
    ]


@every_plugin
def test_settings_are_strict_frozen_dataclasses(name):
    for cls in settings_of(name):
        assert vars(cls).get("__pydantic_config__") == STRICT, f"{cls} is not made by @schema"
        assert cls.__dataclass_params__.frozen, cls


@pytest.mark.parametrize("cls", schemas(RunConfig), ids=lambda cls: cls.__name__)
def test_every_key_of_every_run_has_a_meaning(cls):
    meanings = field_meanings(cls)
    assert [f.name for f in dataclasses.fields(cls) if not meanings.get(f.name)] == []


@every_plugin
def test_every_setting_has_a_meaning(name):
    without = [
        f"{cls.__name__}.{f.name}"
        for cls in settings_of(name)
        for f in dataclasses.fields(cls)
        if not field_meanings(cls).get(f.name)
    ]
    assert without == []


@every_plugin
def test_defaults_pass_their_own_checks(name):
    for component in plugins.load(name).components:
        cls = plugins.resolve(component.config)
        assert typed(cls, to_plain(cls()), section=component.kind) == cls()


@every_plugin
def test_trainers_have_max_steps(name):
    for component in plugins.load(name).components:
        if component.kind == "trainer":
            assert isinstance(plugins.resolve(component.config)().max_steps, int)


@every_plugin
def test_factories_make_what_their_kind_promises(name):
    for component in plugins.load(name).components:
        made = plugins.resolve(component.factory)(plugins.resolve(component.config)())
        assert isinstance(made, PROTOCOLS[component.kind]), component


def method_by_scale(name: str) -> list[list[str]]:
    groups = preset_groups(plugins.load(name))
    axes = [[f"{g}={n}" for n in groups[g]] for g in ("method", "scale") if g in groups]
    points = [list(point) for point in itertools.product(*axes)]
    return [point for point in points if not is_of_two_trainers(name, point)]


def is_of_two_trainers(name: str, point: list[str]) -> bool:
    """Epistemic's `paper` is for its trainer onpolicy, `paper_sft` for its trainer sft."""
    chosen = dict(word.split("=") for word in point)
    other = "paper" if chosen.get("method", "").startswith("sft_") else "paper_sft"
    return name == "epistemic" and chosen["scale"] == other


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


OTHERS = sorted(
    {
        f"{group}={choice}"
        for name in NAMES
        for group, choices in preset_groups(plugins.load(name)).items()
        for choice in choices
        if group not in ("method", "scale")
    }
)


@pytest.mark.parametrize("preset", OTHERS)
def test_every_other_preset_composes_in_each_plugin_that_offers_it(preset):
    group, choice = preset.split("=")
    for name in NAMES:
        if choice in preset_groups(plugins.load(name)).get(group, []):
            assert compose([f"plugin={name}", preset]).plugin == name


@every_plugin
def test_methods_of_one_plugin_differ_in_their_settings(name):
    methods = preset_groups(plugins.load(name)).get("method", [])
    settings = [compose([f"plugin={name}", f"method={m}"]).settings for m in methods]
    assert len({json.dumps(s, sort_keys=True) for s in settings}) == len(methods)


@every_plugin
def test_default_run_passes_its_dry_run(name, lab_here, home):
    planned = lab_here("run", f"plugin={name}", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    runs = {"epistemic": 2}.get(name, 1)  # GRPO and SDPO
    assert planned.stdout.startswith(f"plan: {runs} run(s) of plugin {name}; nothing was started")
    assert not home.exists()
