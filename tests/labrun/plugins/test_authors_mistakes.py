"""Each mistake of a plugin's author is one line: the distribution, the file, the nearest name."""

import importlib
import os
import sys

import numpy as np
import pytest
from labrun import Plan, Score, TrainResult
from labrun.config.components import build, trained
from labrun.config.contract_check import faults, summary
from labrun.config.experiments import compose
from labrun.errors import LabError
from labrun.plugins import discovery
from labrun.plugins.building import function
from labrun.score import scores_of
from small_plugin import write

PLUGIN, CONFIG, PARTS = "lab_mine/plugin.py", "lab_mine/config.py", "lab_mine/parts.py"
FAST, ENTRY = "lab_mine/conf/method/fast.yaml", "lab_mine-0.1.dist-info/entry_points.txt"
TRAINER = 'kind="trainer",\n                name="walk",\n'
WALK_INIT = "class Walk:\n    def __init__(self, config):\n"
WALK_PLAN = "def plan(self, setup):\n        return Plan()"
HOOK = "@hookimpl\ndef lab_plugin():"

REFERENCES = {
    "config: module": [
        (PLUGIN, "lab_mine.config:WalkC", "lab_mine.confg:WalkC"),
        "config of trainer 'walk': lab_mine.confg:WalkConfig: ModuleNotFoundError: No module named "
        "'lab_mine.confg'; did you mean 'lab_mine.config'?",
        "lab_mine has conf, config, parts, plugin",
        "plugin.py, line 13",
    ],
    "config: package": [
        (PLUGIN, "lab_mine.config:WalkC", "lab_mnie.config:WalkC"),
        "No module named 'lab_mnie'; did you mean 'lab_mine'?",
        "plugin.py, line 13",
    ],
    "config: object": [
        (PLUGIN, ":WalkConfig", ":WalkConfg"),
        "lab_mine.config has no 'WalkConfg'; did you mean 'WalkConfig'?",
        "it has WalkConfig, StepsConfig, LengthConfig",
        "config.py",
    ],
    "config: a dot for the colon": [
        (PLUGIN, "config:WalkConfig", "config.WalkConfig"),
        "config of trainer 'walk' is 'lab_mine.config.WalkConfig' and no module:object; "
        "did you mean 'lab_mine.config:WalkConfig'?",
        "plugin.py, line 13",
    ],
    "config: a file": [
        (PLUGIN, "lab_mine.config:WalkConfig", "lab_mine/config.py"),
        "is 'lab_mine/config.py' and no module:object",
    ],
    "config: two colons": [
        (PLUGIN, "lab_mine.config:WalkConfig", "lab_mine.config::WalkConfig"),
        "did you mean 'lab_mine.config:WalkConfig'?",
    ],
    "config: empty": [
        (PLUGIN, '"lab_mine.config:WalkConfig"', '""'),
        "config of trainer 'walk' is '' and no module:object; write 'module:object'",
    ],
    "config: a class": [
        (PLUGIN, '"lab_mine.config:WalkConfig"', "Component"),
        "config of trainer 'walk' is a class; write it as a text, 'labrun.contract:Component'",
    ],
    "samples: a dot for the colon": [
        (
            PLUGIN,
            'name="length",',
            'name="length",\n                samples="lab_mine.parts.kept",',
        ),
        "samples of evaluator 'length' is 'lab_mine.parts.kept' and no module:object; "
        "did you mean 'lab_mine.parts:kept'?",
    ],
    "factory: module": [
        (PLUGIN, "lab_mine.parts:Walk", "lab_mine.part:Walk"),
        "factory of trainer 'walk': lab_mine.part:Walk: ModuleNotFoundError: No module named "
        "'lab_mine.part'; did you mean 'lab_mine.parts'?",
        "plugin.py, line 14",
    ],
    "factory: object": [
        (PLUGIN, "lab_mine.parts:Walk", "lab_mine.parts:Wlak"),
        "lab_mine.parts has no 'Wlak'; did you mean 'Walk'?",
        "it has Steps, Walk, Length, draw",
    ],
    "factory: case": [
        (PLUGIN, "lab_mine.parts:Walk", "lab_mine.parts:walk"),
        "lab_mine.parts has no 'walk'; did you mean 'Walk'?",
    ],
    "factory of the dataset": [
        (PLUGIN, "parts:Steps", "parts:Step"),
        "factory of dataset 'steps': lab_mine.parts:Step: AttributeError: lab_mine.parts has no "
        "'Step'; did you mean 'Steps'?",
    ],
    "factory of the evaluator": [
        (PLUGIN, "parts:Length", "parts:Lenght"),
        "factory of evaluator 'length'",
        "did you mean 'Length'?",
    ],
    "factory: its import fails": [
        (
            PARTS,
            "from labrun import Plan, TrainResult",
            "import torhc\nfrom labrun import Plan, TrainResult",
        ),
        "factory of trainer 'walk': lab_mine.parts:Walk: ModuleNotFoundError: No module named "
        "'torhc'",
        "parts.py, line 1",
    ],
    "factory: a name that labrun does not have": [
        (PARTS, "Plan, TrainResult", "Plan, TrainResutl"),
        "ImportError: cannot import name 'TrainResutl' from 'labrun'",
        "did you mean 'TrainResult'?",
        "parts.py, line 1",
    ],
    "factory: a module that its package does not have": [
        (PARTS, "from labrun import Plan, TrainResult", "from lab_mine import confg"),
        "ImportError: cannot import name 'confg' from 'lab_mine'",
        "did you mean 'config'? it has conf, config, parts, plugin",
        "parts.py, line 1",
    ],
    "factory: its module exits": [
        (PARTS, "from labrun import Plan, TrainResult", "import sys; sys.exit(3)"),
        "SystemExit: its code calls sys.exit(3)",
        "parts.py, line 1",
    ],
    "factory: its module is no Python": [
        (PARTS, "class Walk:", "class Walk"),
        "SyntaxError: expected ':'",
        "parts.py, line 15",
    ],
    "config: its import fails": [
        (CONFIG, "from annotated_types import Ge", "from annotated_types import Gee"),
        "config of trainer 'walk': lab_mine.config:WalkConfig: ImportError: cannot import name "
        "'Gee' from 'annotated_types'",
        "did you mean 'Ge'?",
        "config.py, line 3",
    ],
    "config: a name that is not there": [
        (CONFIG, "num_points: int", "num_points: imt"),
        "NameError: name 'imt' is not defined",
        "config.py, line 17",
    ],
}
COMPONENTS = {
    "factory without config": [
        (PARTS, WALK_INIT, "class Walk:\n    def __init__(self):\n        config = None\n"),
        "factory of trainer 'walk': Walk takes no config: it is called as Walk(config): too many "
        "positional arguments",
        "parts.py, line 15",
    ],
    "factory with more than a config": [
        (PARTS, WALK_INIT, "class Walk:\n    def __init__(self, config, seed):\n"),
        "missing a required argument: 'seed'",
    ],
    "factory is a module's value": [
        (PARTS, "class Walk:", "Walk = 3\n\n\nclass Other:"),
        "factory of trainer 'walk': 3 is of type int, no class or function",
    ],
    "factory fails": [
        (PARTS, WALK_INIT, f"{WALK_INIT}        config.gama\n"),
        "factory of trainer 'walk': Walk: AttributeError: 'WalkConfig' object has no attribute "
        "'gama'; did you mean 'gamma'?",
        "parts.py, line 17",
    ],
    "factory exits": [
        (PARTS, WALK_INIT, f"{WALK_INIT}        exit(4)\n"),
        "SystemExit: its code calls sys.exit(4)",
    ],
    "factory returns nothing": [
        (PARTS, "class Walk:", "def Walk(config):\n    pass\n\n\nclass Other:"),
        "factory of trainer 'walk': Walk returns None; return the component",
    ],
    "trainer without fit": [
        (PARTS, "def fit(", "def train("),
        "factory of trainer 'walk': Walk has no method fit(ctx, data)",
        "parts.py, line 15",
    ],
    "fit misspelt": [
        (PARTS, "def fit(", "def fitt("),
        "Walk has no method fit(ctx, data); it has 'fitt', did you mean 'fit'?",
    ],
    "fit without data": [
        (PARTS, "def fit(self, ctx, data)", "def fit(self, ctx)"),
        "Walk.fit is called as fit(ctx, data): too many positional arguments",
        "parts.py, line 22",
    ],
    "fit is a value": [
        (PARTS, "def fit(self, ctx, data):\n        return TrainResult(None, 0)", "fit = 3"),
        "Walk.fit is of type int, no method fit(ctx, data)",
    ],
    "dataset without load": [
        (PARTS, "def load(", "def laod("),
        "factory of dataset 'steps': Steps has no method load(ctx); it has 'laod', did you mean "
        "'load'?",
    ],
    "dataset without fingerprint": [
        (PARTS, "def fingerprint", "def finger_print"),
        "Steps has no method fingerprint(); it has 'finger_print', did you mean 'fingerprint'?",
    ],
    "evaluator without evaluate": [
        (PARTS, "def evaluate(", "def evalute("),
        "factory of evaluator 'length': Length has no method evaluate(ctx, model, data); it has "
        "'evalute', did you mean 'evaluate'?",
    ],
    "plan misspelt": [
        (PARTS, "def plan(self, setup):", "def plann(self, setup):"),
        "Walk.plann(setup) is not called; did you mean 'plan'?",
        "parts.py, line 19",
    ],
    "plan without setup": [
        (PARTS, "def plan(self, setup):", "def plan(self):"),
        "Walk.plan is called as plan(setup): too many positional arguments",
        "parts.py, line 19",
    ],
    "plan returns None": [
        (PARTS, WALK_PLAN, "def plan(self, setup):\n        pass"),
        "trainer: Walk.plan() returns None; return labrun.Plan(facts)",
        "parts.py, line 19",
    ],
    "plan returns facts": [
        (PARTS, WALK_PLAN, "def plan(self, setup):\n        return {'steps': 3}"),
        "trainer: Walk.plan() returns a dict; return labrun.Plan(facts)",
    ],
    "facts are a list": [
        (PARTS, WALK_PLAN, "def plan(self, setup):\n        return Plan([])"),
        "trainer: Walk.plan() returns a Plan whose facts are a list; give facts by name",
    ],
    "plan exits": [
        (PARTS, WALK_PLAN, "def plan(self, setup):\n        raise SystemExit(0)"),
        "trainer: Walk.plan: SystemExit: its code calls sys.exit(0)",
        "parts.py, line 20",
    ],
    "config exits": [
        (CONFIG, "class LengthConfig:", "class LengthConfig:\n    __post_init__ = exit\n"),
        "config of evaluator 'length': LengthConfig: SystemExit: its code calls sys.exit(",
    ],
    "plan fails": [
        (PARTS, WALK_PLAN, "def plan(self, setup):\n        return Plan({}['steps'])"),
        "trainer: Walk.plan: KeyError: 'steps'",
        "parts.py, line 20",
    ],
    "missing is a text": [
        (PARTS, WALK_PLAN, "def plan(self, setup):\n        return Plan(missing='data')"),
        "returns a Plan whose missing is 'data', no list of texts",
    ],
    "missing is a fact": [
        (PARTS, WALK_PLAN, "def plan(self, setup):\n        return Plan({'missing': ['data']})"),
        "returns a Plan with a fact 'missing'; write Plan(facts, missing=[...])",
    ],
    "preflight of a trainer": [
        (PARTS, WALK_PLAN, "def preflight(self, dataset):\n        return {}"),
        "Walk.preflight is not called any more; write plan(setup) and return Plan(facts, missing) "
        "in it",
        "parts.py, line 19",
    ],
    "max_processes of a trainer": [
        (PARTS, WALK_PLAN, "max_processes = None"),
        "Walk.max_processes is not called any more; write plan(setup) and return "
        "Plan(max_processes=...) in it",
        "parts.py, line 15",
    ],
    "scores_like of an evaluator": [
        (PARTS, "class Length:", "class Length:\n    scores_like = 'length'\n"),
        "Length.scores_like is not called any more; write plan(setup) and look at "
        "setup.evaluators in it",
    ],
    "config is no dataclass": [
        (CONFIG, "@schema\nclass WalkConfig", "class WalkConfig"),
        "config of trainer 'walk': WalkConfig is a class without @labrun.schema; write it above "
        "the class",
        "config.py, line 7",
    ],
    "config is a plain dataclass": [
        (
            CONFIG,
            "@schema\nclass Walk",
            "import dataclasses\n\n\n@dataclasses.dataclass\nclass Walk",
        ),
        "WalkConfig is a dataclass without @labrun.schema",
    ],
    "config inherits and is no schema": [
        (CONFIG, "@schema\nclass LengthConfig:", "class LengthConfig(StepsConfig):"),
        "config of evaluator 'length': LengthConfig is a dataclass without @labrun.schema",
    ],
    "config is a function": [
        (CONFIG, "@schema\nclass WalkConfig:", "def WalkConfig():"),
        "WalkConfig is of type function; a config is a class with @labrun.schema",
    ],
    "config without a default": [
        (CONFIG, "gamma: Annotated[float, Ge(0)] = 0.5", "gamma: Annotated[float, Ge(0)]"),
        "WalkConfig has no default for gamma; give it one",
        "config.py, line 7",
    ],
    "config with a default that no YAML holds": [
        (CONFIG, "gamma: Annotated[float, Ge(0)] = 0.5", "gamma: object = object()"),
        "WalkConfig.gamma: its default is of type object; write text, number, list or mapping",
    ],
    "config with a mutable default": [
        (CONFIG, "num_points: int = 4", "num_points: list = []"),
        "ValueError: mutable default <class 'list'> for field num_points is not allowed",
        "config.py, line 15",
    ],
    "config with a field of labrun's": [
        (CONFIG, "num_points: int", "component: int"),
        "StepsConfig has a field 'component', a name that labrun takes",
    ],
    "a default out of its range": [
        (CONFIG, "gamma: Annotated[float, Ge(0)] = 0.5", "gamma: Annotated[float, Ge(1)] = 0.5"),
        "trainer.gamma=0.9: input should be greater than or equal to 1",
        "fast.yaml, line 2",
    ],
}
HOOKS = {
    "hook misspelt": [
        (PLUGIN, "def lab_plugin(", "def lab_plugni("),
        "unknown hook 'lab_plugni'; did you mean 'lab_plugin'? allowed: lab_plugin",
        "plugin.py, line 4",
    ],
    "hook without mark": [
        (PLUGIN, HOOK, "def lab_plugin():"),
        "its module must implement the hook lab_plugin() with @labrun.hookimpl; its lab_plugin() "
        "has no @hookimpl",
        "plugin.py, line 4",
    ],
    "hook misspelt and without mark": [
        (PLUGIN, HOOK, "def labplugin():"),
        "it has labplugin(), did you mean lab_plugin?",
    ],
    "hook with the mark of another project": [
        (PLUGIN, HOOK, f"import pluggy\n\n\n@pluggy.HookimplMarker('pytest')\n{HOOK[10:]}"),
        "its lab_plugin() is marked with pytest_impl of another project",
    ],
    "hook with an argument": [
        (PLUGIN, "def lab_plugin():", "def lab_plugin(config):"),
        "lab_plugin() takes no argument, and asks for config",
    ],
    "hook returns nothing": [
        (PLUGIN, "return PluginInfo", "PluginInfo"),
        "its lab_plugin() returns None; return a labrun.PluginInfo",
    ],
    "hook returns a dict": [
        (PLUGIN, "return PluginInfo", "return dict"),
        "its lab_plugin() returns dict; return a labrun.PluginInfo",
    ],
    "hook fails": [
        (PLUGIN, "    return PluginInfo", "    1 / 0\n    return PluginInfo"),
        "ZeroDivisionError: division by zero",
        "plugin.py, line 6",
    ],
    "an argument misspelt": [
        (PLUGIN, "headline=", "hedline="),
        "PluginInfo.__init__() got an unexpected keyword argument 'hedline'",
        "did you mean 'headline'?",
        "plugin.py, line",
    ],
    "an argument of a function that describes it misspelt": [
        (
            PLUGIN,
            "    return PluginInfo",
            "    from lab_marl.method import offline_plugin\n"
            "    return offline_plugin('mine', summary='x', los='lab_mine.parts:draw')\n"
            "    return PluginInfo",
        ),
        "offline_plugin() got an unexpected keyword argument 'los'; did you mean 'loss'?",
        "plugin.py, line 7",
    ],
    "a description that its function refuses": [
        (
            PLUGIN,
            "    return PluginInfo",
            "    from lab_marl.method import offline_plugin\n"
            "    return offline_plugin('mine', summary='x')\n"
            "    return PluginInfo",
        ),
        "is broken: offline_plugin('mine') takes either loss= or learner=; name one",
        "plugin.py, line 7",
    ],
    "a component's argument misspelt": [
        (PLUGIN, 'factory="lab_mine.parts:Walk"', 'factroy="lab_mine.parts:Walk"'),
        "got an unexpected keyword argument 'factroy'; did you mean 'factory'?",
    ],
    "a component's argument missing": [
        (PLUGIN, '                factory="lab_mine.parts:Walk",\n', ""),
        "missing 1 required positional argument: 'factory'",
    ],
    "another name": [
        (PLUGIN, 'name="mine"', 'name="mien"'),
        "entry point 'mine' describes itself as 'mien'",
        "plugin.py, line 7",
    ],
    "kind misspelt": [
        (PLUGIN, 'kind="trainer"', 'kind="trainr"'),
        "component 'walk' is of kind 'trainr'; did you mean 'trainer'? allowed: trainer, dataset, "
        "evaluator",
        "plugin.py, line 12",
    ],
    "a component's name with a dot": [
        (PLUGIN, 'name="walk"', 'name="my.walk"'),
        "trainer name 'my.walk': a name has letters, digits, _ and - only",
    ],
    "a component twice": [
        (PLUGIN, 'kind="evaluator",\n                name="length"',
         'kind="dataset",\n                name="steps"'),
        "dataset 'steps' is offered twice; rename one",
    ],
    "no comma behind the only component": [
        (PLUGIN, "components=(\n",
         "components=(Component('trainer', 'a', 'a:b', 'a:b')),\n        moved=(\n"),
        "PluginInfo.components is a Component, no list or tuple; one entry needs a comma behind it",
    ],
    "no comma behind the only preset": [
        (PLUGIN, '("lab_mine.conf",)', '("lab_mine.conf")'),
        "PluginInfo.presets is 'lab_mine.conf', no list or tuple; one entry needs a comma",
    ],
    "a default too few": [
        (PLUGIN, '"trainer": "walk", ', ""),
        "PluginInfo.defaults names no trainer",
    ],
    "a default's kind misspelt": [
        (PLUGIN, '"trainer": "walk"', '"trianer": "walk"'),
        "PluginInfo.defaults names 'trianer'; did you mean 'trainer'? allowed: trainer, dataset, "
        "evaluator",
        "plugin.py, line 29",
    ],
    "a default misspelt": [
        (PLUGIN, '"trainer": "walk"', '"trainer": "wlak"'),
        "PluginInfo.defaults names trainer=wlak: no trainer of its own; did you mean 'walk'? "
        "allowed: walk",
        "plugin.py, line 29",
    ],
    "a default of a plugin that is not there": [
        (PLUGIN, '"trainer": "walk"', '"trainer": "rltr.rlrt"'),
        "PluginInfo.defaults names trainer=rltr.rlrt: no plugin 'rltr'; did you mean 'rlrt'?",
        "plugin.py, line 29",
    ],
    "a default that another plugin does not have": [
        (PLUGIN, '"trainer": "walk"', '"trainer": "rlrt.rltr"'),
        "PluginInfo.defaults names trainer=rlrt.rltr: no trainer 'rltr' of plugin 'rlrt'; did you "
        "mean 'rlrt'?",
    ],
    "a preset package misspelt": [
        (PLUGIN, '"lab_mine.conf"', '"lab_mine.cnf"'),
        "PluginInfo.presets names 'lab_mine.cnf': no package 'lab_mine.cnf'; did you mean "
        "'lab_mine.conf'?",
        "plugin.py, line 30",
    ],
    "a preset package that is a module": [
        (PLUGIN, '"lab_mine.conf"', '"lab_mine.config"'),
        "lab_mine.config is a module; presets lie in a package, a folder",
    ],
    "a preset package without __init__.py": [
        ("lab_mine/conf/__init__.py", "", "(gone)"),
        "the folder has no __init__.py, without which it is not read",
        "lab_mine/conf",
    ],
    "a preset misspelt": [
        (PLUGIN, '"method": "fast"', '"method": "fsat"'),
        "PluginInfo.groups names method=fsat: no such preset; did you mean 'fast'? allowed: fast, "
        "slow",
        "plugin.py, line 31",
    ],
    "a preset group misspelt": [
        (PLUGIN, '"method": "fast"', '"methd": "fast"'),
        "PluginInfo.groups names methd=fast: no such group of presets; did you mean 'method'? "
        "allowed: method, scale",
    ],
    "entry point: module misspelt": [
        (ENTRY, "lab_mine.plugin", "lab_mine.plugni"),
        "ModuleNotFoundError: No module named 'lab_mine.plugni'; did you mean 'lab_mine.plugin'?",
        "it stands in entry point mine = 'lab_mine.plugni' in [project.entry-points.labrun]",
    ],
    "entry point: package misspelt": [
        (ENTRY, "lab_mine.plugin", "lab_mien.plugin"),
        "No module named 'lab_mien'; did you mean 'lab_mine'?",
        "it stands in entry point mine",
    ],
    "entry point: an object": [
        (ENTRY, "lab_mine.plugin", "lab_mine.plugin:lab_plugin"),
        "names no module; write 'lab_mine.plugin'",
    ],
    "the plugin's import fails": [
        (PLUGIN, "\nfrom labrun", "import lab_mine.cofig\nfrom labrun"),
        "ModuleNotFoundError: No module named 'lab_mine.cofig'; did you mean 'lab_mine.config'?",
        "plugin.py, line 1",
    ],
    "the plugin exits": [
        (PLUGIN, "\nfrom labrun", "import sys\nsys.exit('no licence')\nfrom labrun"),
        "SystemExit: its code calls sys.exit('no licence')",
        "plugin.py, line 2",
    ],
}  # fmt: skip
PRESETS = {
    "no # @package": [
        (FAST, "# @package trainer\n", ""),
        "preset method=fast: no line `# @package SECTION`, so that its keys would be method.gamma; "
        "write `# @package trainer` at the top",
        "fast.yaml, line 1",
    ],
    "no # @package and sections": [
        (FAST, "# @package trainer\ngamma: 0.9", "trainer:\n  gamma: 0.9"),
        "write `# @package _global_` at the top",
    ],
    "# @package below a comment": [
        (FAST, "# @package", "# Faster.\n# @package"),
        "`# @package trainer` is read only as the first line; write `# @package trainer`",
        "fast.yaml, line 2",
    ],
    "# @pakage": [
        (FAST, "# @package", "# @pakage"),
        "`# @pakage trainer` is no `# @package SECTION`; write `# @package trainer` at the top",
        "fast.yaml, line 1",
    ],
    "# package": [
        (FAST, "# @package", "# package"),
        "`# package trainer` is no `# @package SECTION`",
    ],
    "# @package: trainer": [
        (FAST, "# @package trainer", "# @package: trainer"),
        "`# @package: trainer` is no `# @package SECTION`",
    ],
    "# @package with two words": [
        (FAST, "# @package trainer", "# @package trainer of mine"),
        "`# @package trainer of mine` is no `# @package SECTION`",
    ],
    "a section misspelt": [
        (FAST, "# @package trainer", "# @package trainr"),
        "`# @package trainr` names no section; did you mean 'trainer'?",
        "fast.yaml, line 1",
    ],
    "_global_ misspelt": [
        ("lab_mine/conf/scale/tiny.yaml", "_global_", "_global"),
        "preset scale=tiny: `# @package _global` names no section; did you mean '_global_'?",
    ],
    "a key that is not there": [
        (FAST, "gamma", "gama"),
        "preset method=fast: no key trainer.gama; did you mean trainer.gamma?",
        "fast.yaml, line 2",
    ],
    "a section inside its section": [
        (FAST, "gamma: 0.9", "trainer:\n  gamma: 0.9"),
        "no key trainer.trainer.gamma; did you mean trainer.gamma?",
        "fast.yaml, line 3",
    ],
    "a section of the whole misspelt": [
        ("lab_mine/conf/scale/tiny.yaml", "trainer:", "trianer:"),
        "no key trianer.max_steps; did you mean trainer.max_steps?",
    ],
    "a key like no other": [
        (FAST, "gamma: 0.9", "zzz: 0.9"),
        "no key trainer.zzz; keys: trainer.",
    ],
    "a key with a dot": [
        ("lab_mine/conf/scale/tiny.yaml", "trainer:\n  max_steps: 1", "trainer.max_steps: 1"),
        "trainer.max_steps: a name with a dot; write one name a line",
        "tiny.yaml, line 2",
    ],
    "a key twice": [
        (FAST, "gamma: 0.9", "gamma: 0.9\ngamma: 0.8"),
        "preset method=fast: trainer.gamma is set twice; keep one",
        "fast.yaml, line 3",
    ],
    "a value of the wrong type": [
        (FAST, "0.9", "quick"),
        'trainer.gamma="quick": input should be a valid number',
        "fast.yaml, line 2",
    ],
    "a value out of range": [
        (FAST, "0.9", "-1"),
        "trainer.gamma=-1: input should be greater than or equal to 0",
        "fast.yaml, line 2",
    ],
    "a section that is a value": [
        ("lab_mine/conf/scale/tiny.yaml", "trainer:\n  max_steps: 1", "trainer: 1"),
        "preset scale=tiny: trainer is a section; write its keys below it, or leave it out",
        "tiny.yaml, line 2",
    ],
    "a section without keys": [
        ("lab_mine/conf/scale/tiny.yaml", "trainer:\n  max_steps: 1", "trainer:\n  # max_steps: 1"),
        "trainer is a section; write its keys below it, or leave it out",
    ],
    "a tab": [
        (FAST, "gamma: 0.9", "gamma:\n\t- 0.9"),
        "preset method=fast: the preset cannot be read: found character '\\t'",
        "fast.yaml, line 3",
    ],
    "no YAML": [
        (FAST, "gamma: 0.9", "gamma: [0.9"),
        "the preset cannot be read",
        "fast.yaml, line",
    ],
    "a list": [
        (FAST, "gamma: 0.9", "- gamma"),
        "the preset holds a sequence; write `key: value` lines",
    ],
    "another ending": [
        [(FAST, "", "(gone)"), ("lab_mine/conf/method/fast.yml", "", "gamma: 0.9")],
        "PluginInfo.groups names method=fast: no such preset",
    ],
}  # fmt: skip


def declared(text, default="quick"):
    """The edit that declares presets in Python, one of them the default."""
    return (
        PLUGIN,
        'groups={"method": "fast"',
        f'presets_in_python={text},\n        groups={{"method": "{default}"',
    )


DECLARED = {
    "declared: a key that is not there": [
        declared('{"method": {\n            "quick": {"trainer": {"gama": 0.9}}}}'),
        "preset method=quick: no key trainer.gama; did you mean trainer.gamma?",
        "plugin.py, line 32",
    ],
    "declared: a key of the second preset": [
        declared('{"method": {"other": {"trainer": {"gamma": 0.5}},\n            "quick": {\n'
                 '                "trainer": {"gamma": "far"}}}}'),
        'trainer.gamma="far": input should be a valid number',
        "plugin.py, line 33",
    ],
    "declared: a section misspelt": [
        declared('{"method": {"quick": {"trianer": {"gamma": 0.9}}}}'),
        "preset method=quick: no key trianer.gamma; did you mean trainer.gamma?",
        "plugin.py, line 31",
    ],
    "declared: a key with a dot": [
        declared('{"method": {"quick": {"trainer.gamma": 0.9}}}'),
        "trainer.gamma: a name with a dot; write one name a line",
        "plugin.py, line 31",
    ],
    "declared: a section that is a value": [
        declared('{"method": {"quick": {"trainer": 0.9}}}'),
        "preset method=quick: trainer is a section",
    ],
    "declared: no mapping": [
        declared('{"method": {"quick": 0.9}}'),
        "preset method=quick is a float, no mapping {section: {key: value}}",
        "plugin.py, line 31",
    ],
    "declared: a name for the mapping of names": [
        declared('{"method": "quick"}'),
        "PluginInfo.presets_in_python['method'] is a str, no mapping {name: values}",
    ],
    "declared: a list": [
        declared('["quick"]'),
        "PluginInfo.presets_in_python is a list, no mapping {group: {name: values}}",
    ],
    "declared: a value that no YAML holds": [
        declared('{"method": {"quick": {"trainer": {"gamma": object()}}}}'),
        "preset method=quick: trainer.gamma is of type object; write text, number, list or mapping",
        "plugin.py, line 31",
    ],
    "declared: a name with a blank": [
        declared('{"method": {"so quick": {}}}'),
        "preset method=so quick: a name is a text of letters, digits, _ and -",
    ],
    "declared: the name of a file": [
        declared('{"method": {"fast": {"trainer": {"gamma": 0.8}}}}', default="fast"),
        "preset method=fast is declared here and is also the file",
        "fast.yaml; rename one",
        "plugin.py, line 31",
    ],
    "declared: the default misspelt": [
        declared('{"method": {"quick": {}}}', default="qiuck"),
        "PluginInfo.groups names method=qiuck: no such preset; did you mean 'quick'?",
    ],
}  # fmt: skip
ROWS = REFERENCES | COMPONENTS | HOOKS | PRESETS | DECLARED
ONLY_CHECKED = {
    "a key without meaning": [
        (CONFIG, '\n    """Discount."""', ""),
        "config of trainer 'walk': WalkConfig.gamma has no meaning; write a string below the field",
        "config.py, line 11",
    ],
    "a key without type": [
        (CONFIG, "num_points: int = 4", "rate = 0.5\n    num_points: int = 4"),
        "config of dataset 'steps': StepsConfig.rate has no type, so that it is no key; write one",
        "config.py, line 17",
    ],
    "a trainer without max_steps": [
        [
            (CONFIG, "max_steps", "steps"),
            ("lab_mine/conf/scale/tiny.yaml", "max_steps", "steps"),
        ],
        "config of trainer 'walk': WalkConfig has no field max_steps",
        "config.py, line 7",
    ],
    "a figure misspelt": [
        (PLUGIN, "parts:draw", "parts:drew"),
        "PluginInfo.figures names lab_mine.parts:drew: AttributeError: lab_mine.parts has no "
        "'drew'; did you mean 'draw'?",
        "plugin.py, line 33",
    ],
    "samples misspelt": [
        (PLUGIN, 'name="length",', 'name="length", samples="lab_mine.parts:drew",'),
        "evaluator 'length' names lab_mine.parts:drew: AttributeError: lab_mine.parts has no "
        "'drew'; did you mean 'draw'?",
    ],
    "a preset outside of a group": [
        ("lab_mine/conf/quick.yaml", "", "gamma: 0.9"),
        "a preset lies in the folder of its group, such as method/; this one is not read",
        "lab_mine/conf/quick.yaml",
    ],
    "an evaluator's key in a preset": [
        ("lab_mine/conf/scale/tiny.yaml", "  max_steps: 1", "  max_steps: 1\nevaluator:\n"
         "  lenght: {unit: km}"),
        "preset scale=tiny: no key evaluator.lenght.unit; did you mean evaluator.length.unit?",
        "tiny.yaml, line 5",
    ],
    "no summary": [(PLUGIN, '"a plugin of a test"', '""'), "PluginInfo.summary is empty"],
}  # fmt: skip
CHECKED = {
    "a default out of its range": "its default trainer.gamma=0.5: input should be greater",
    "another ending": "a preset's name ends in .yaml; this one is not read",
}
"""What `--check` says where it is not what a run says."""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts the small plugin with edits on the path; its modules are forgotten afterwards."""

    def put(edits=(), name="mine"):
        edits = tuple(edits) if isinstance(edits, list) else (edits,) if edits else ()
        folder = write(tmp_path / name, edits, name=name)
        monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()
        discovery.load.cache_clear()
        return folder

    yield put
    discovery.load.cache_clear()
    for module in [name for name in sys.modules if name.startswith("lab_mine")]:
        del sys.modules[module]


def planned(*words: str):
    experiment = compose(["plugin=mine", *words])
    return build(experiment).plan(experiment.run.resources)


def refusal(*words: str) -> str:
    with pytest.raises(LabError) as error:
        planned(*words)
    return str(error.value)


@pytest.mark.parametrize("name", ROWS)
def test_a_mistake_is_one_line_that_names_distribution_place_and_nearest(install, name):
    edits, *fragments = ROWS[name]
    install(edits)
    said = refusal()
    assert "\n" not in said
    for fragment in fragments:
        assert fragment in said
    if "(set at" not in said:
        assert said.startswith("plugin 'mine' (lab-mine 0.1) is broken: ")
        assert said.endswith("; mend it or `pip uninstall lab-mine`")
    found = faults("mine")
    assert any(CHECKED.get(name, fragments[0]) in line for line in found), found
    assert all("\n" not in line for line in found)


def test_the_sound_plugin_keeps_to_the_contract(install):
    install()
    assert planned() == dict.fromkeys(["dataset", "trainer", "evaluator.length"], Plan())
    assert faults("mine") == []
    assert summary("mine") == "mine: 3 components, 3 presets: all well"


@pytest.mark.parametrize("name", ONLY_CHECKED)
def test_a_mistake_that_stops_no_run_is_found_by_the_check(install, name):
    edits, *fragments = ONLY_CHECKED[name]
    install(edits)
    planned()
    (line,) = faults("mine")
    for fragment in fragments:
        assert fragment in line


def test_a_preset_that_no_default_chooses_is_named_when_it_is_chosen(install):
    install(("lab_mine/conf/method/slow.yaml", "gamma", "gama"))
    planned()
    assert "preset method=slow: no key trainer.gama; did you mean trainer.gamma?" in refusal(
        "method=slow"
    )


def test_a_declared_preset_that_no_default_chooses_is_found_by_the_check_and_when_chosen(install):
    install(declared('{"method": {"quick": {}, "slower": {"trainer": {"gama": 2}}}}'))
    planned()
    said = "preset method=slower: no key trainer.gama; did you mean trainer.gamma?"
    assert said in refusal("method=slower")
    (line,) = faults("mine")
    assert line.startswith(said)
    assert line.endswith("plugin.py, line 31)")


def test_the_presets_of_a_file_and_of_the_description_are_counted_together(install):
    install(declared('{"method": {"quick": {"trainer": {"gamma": 0.25}}}}'))
    assert faults("mine") == []
    assert summary("mine") == "mine: 3 components, 4 presets: all well"
    assert compose(["plugin=mine"]).settings["trainer"]["gamma"] == 0.25


def test_a_word_of_the_user_is_not_laid_to_a_preset(install):
    install()
    assert refusal("gamma=-1") == "trainer.gamma=-1: input should be greater than or equal to 0"


FUNCTION = "def draw("
FUNCTIONS = {
    "not there": (
        "lab_mine.parts:drew",
        "lab_mine.parts:drew: AttributeError: lab_mine.parts has no 'drew'; did you mean 'draw'?",
        "parts.py)",
    ),
    "no function": ("lab_mine.parts:COUNT", "it is of type int; write a function COUNT(arms, to)"),
    "other arguments": (
        "lab_mine.parts:one",
        "it is called as one(arms, to): too many positional arguments",
        "parts.py, line ",
    ),
    "another module": ("lab_mine.part:draw", "did you mean 'lab_mine.parts'?"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_that_a_method_names_is_checked_when_the_run_is_planned(install, name):
    install((PARTS, FUNCTION, f"COUNT = 3\n\n\ndef one(arms):\n    pass\n\n\n{FUNCTION}"))
    assert function("lab_mine.parts:draw", "arms", "to").__name__ == "draw"
    reference, *fragments = FUNCTIONS[name]
    with pytest.raises(LabError) as error:
        function(reference, "arms", "to")
    said = str(error.value)
    assert said.startswith(f"plugin 'mine' (lab-mine 0.1) is broken: {reference}: ")
    assert "\n" not in said
    for fragment in fragments:
        assert fragment in said


def test_a_name_claimed_twice_by_one_distribution_names_both_modules(install):
    install((ENTRY, "", "[labrun]\nmine = lab_mine.plugin\nmine = lab_mine.other\n"))
    assert refusal() == (
        "plugin 'mine' is claimed twice by lab-mine 0.1, as lab_mine.plugin and lab_mine.other; "
        "keep one of these entry points"
    )


def test_other_plugins_work_beside_all_of_these(install):
    install((PLUGIN, "def lab_plugin(", "def lab_plugni("))
    install((ENTRY, "lab_mine.plugin", "lab_mine.plugni"), name="mine_b")
    install((PLUGIN, '"trainer": "walk", ', ""), name="mine_c")
    install(name="mine_sound")
    assert sorted(discovery.broken()) == ["mine", "mine_b", "mine_c"]
    assert all("\n" not in reason for reason in discovery.broken().values())
    assert compose(["plugin=mine_sound"]).components["trainer"] == "mine_sound.walk"
    assert compose(["plugin=rlrt"]).components["trainer"] == "rlrt.rlrt"


def test_the_command_checks_a_plugin_and_exits_with_2(install, lab, monkeypatch):
    light = "from annotated_types import Ge"
    folder = install((CONFIG, light, f"import matplotlib.axes\n{light}"))
    search = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", search)
    checked = lab("plugins", "mine", "--check")
    assert checked.returncode == 2
    assert checked.stderr == (
        "mine: lab_mine.config imports matplotlib; import it where it is used, inside a function "
        f"({folder}/lab_mine/config.py, line 3)\n"
    )
    (folder / CONFIG).write_text(
        (folder / CONFIG).read_text().replace("import matplotlib.axes", "")
    )
    checked = lab("plugins", "mine", "--check")
    assert (checked.returncode, checked.stdout) == (
        0,
        "mine: 3 components, 3 presets: all well\n",
    )


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (0.5, "a float"),
        ({"accuracy": 0.5}, "a dict"),
        (np.zeros(2), "a ndarray"),
        (None, "None"),
        ([0.5], "a list that holds a float"),
        ((one for one in ()), "a generator"),
    ],
)
def test_an_evaluator_that_returns_no_scores_is_one_line(returned, got):
    with pytest.raises(LabError) as error:
        scores_of(Score("t", "m", 1.0, 1), returned)
    assert str(error.value) == (
        f"labrun.score.Score.evaluate() returns {got}; "
        "return a list of labrun.Score(task, metric, value, n)"
    )


def test_a_trainer_that_returns_no_result_is_one_line():
    assert trained(object(), TrainResult("model", 3)).step == 3
    with pytest.raises(LabError) as error:
        trained(object(), None)
    assert str(error.value) == (
        "builtins.object.fit() returns None; return labrun.TrainResult(model, step)"
    )
