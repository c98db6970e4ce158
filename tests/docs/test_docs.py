"""The documentation agrees with the code: commands, keys, metrics, links and the example plugin."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import warm
import wheels
from baseline_cases import CPU, SMALL, continues_exactly, set_weights, wave_batch
from lab_marl.networks.rows import filled_rows
from labrun.cli import app as cli
from labrun.cli import describe
from labrun.cli.new import templates
from labrun.plugins import discovery as plugins
from labrun.runs import run_index
from stairs_cases import marine_layout

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "infra/*.md", "benchmarks/*.md", "plugins/*/*.md")
    for page in ROOT.glob(pattern)
)
ALLOWED_HOSTS = {"127.0.0.1", "host", "arxiv.org", "github.com"}
FIXED_KEYS = ("seed", "launcher", "resources.num_gpus", "tracking.uri", "trainer.max_steps")
FIXED_GROUPS = ("method", "scale")
RULES_METRICS = ("asymmetry_correct", "weight_clip_fraction")
NEW_PLUGIN = ROOT / "docs" / "new-plugin.md"

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code(text: str) -> str:
    """Only what stands in code: fenced blocks and `inline` spans."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.S | re.M)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", prose(text))])


def prose(text: str) -> str:
    """The text without fenced blocks."""
    return re.sub(r"^```\w*\n.*?^```", "", text, flags=re.S | re.M)


def commands_in(text: str) -> set[str]:
    """X of every `lab X` in code, options and prose placeholders left aside."""
    return set(re.findall(r"(?:^|[\s/])lab ([a-z]+)", code(text), flags=re.M))


def known_commands() -> set[str]:
    named = {c.callback.__name__ for c in cli.app.registered_commands if c.callback}
    return named | {group.name for group in cli.app.registered_groups if group.name}


@pages
def test_every_lab_command_in_the_page_exists(page):
    assert commands_in(page.read_text()) <= known_commands()


def test_the_readme_shows_every_command():
    assert commands_in((ROOT / "README.md").read_text()) == known_commands()


@pages
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose(page.read_text()))
    missing = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]
    assert missing == []


@pages
def test_addresses_are_placeholders_or_of_this_project(page):
    hosts = re.findall(r"https?://([\w.-]+)", page.read_text())
    assert set(hosts) <= ALLOWED_HOSTS


@pages
def test_paths_named_in_code_exist(page):
    """Only paths from the root of the checkout, which begin with one of its folders."""
    named = re.findall(
        r"(?<![\w./-])((?:core|plugins|infra|tests|docs|benchmarks)/[\w./-]*\w)",
        code(page.read_text()),
    )
    named = [path for path in named if "NAME" not in path]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_fixed_keys_and_groups_are_printed_for_rlrt(lab_here):
    printed = lab_here("plugins", "rlrt").stdout
    for key in FIXED_KEYS:
        assert f"  {key} = " in printed
    for group in FIXED_GROUPS:
        assert f"presets of {group}\n  {group}=" in printed


def test_every_key_has_a_meaning():
    for name in plugins.installed():
        for component in plugins.load(name).components:
            for key, _, meaning in describe.keys(plugins.resolve(component.config)()):
                assert meaning, f"{name}: {component.kind}.{key}"


def documented_metrics() -> set[str]:
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "metrics.md").read_text(), flags=re.M)
    return set(rows)


def names_in(path: str, pattern: str) -> set[str]:
    """Literal metric names that a module's source gives to the run."""
    return set(re.findall(pattern, (ROOT / path).read_text(), flags=re.M))


def test_grpo_metrics_are_documented():
    from lab_llm.training.step_metrics import LOGGED, TOKEN_MEANS

    modules = ("engines", "trainer", "rewards", "step_metrics")
    sources = [f"core/lab_llm/training/{name}.py" for name in modules]

    def named(pattern: str) -> set[str]:
        return {name for source in sources for name in names_in(source, pattern)}

    own = named(r'metrics\.add\("([\w/]+)"')
    timed = {f"time/{stage}" for stage in named(r'\.timed\("(\w+)"\)')}
    spent = named(r'"(time/\w+)": ')
    contexts = {
        f"teacher_context/{name}"
        for name in names_in("core/lab_llm/training/teacher.py", r'count\("(\w+)"\)')
    }
    assert {"pass_rate", "epistemic_words", "teacher_scored_fraction"} <= own
    assert timed | spent >= {"time/sample", "time/verify", "time/teacher", "time/step"}
    assert contexts == {"teacher_context/unmarked", "teacher_context/truncated"}
    logged = {*LOGGED.values(), *TOKEN_MEANS}
    assert logged | own | timed | spent | contexts <= documented_metrics()


def test_what_the_losses_record_is_documented():
    from lab_llm.training.step_metrics import TOKEN_MEANS

    names = names_in("core/lab_llm/training/objective.py", r'"(\w+)": entropies')
    names |= names_in("core/lab_llm/training/objective.py", r'means\["(\w+)"\]')
    names |= names_in("core/lab_llm/training/self_distillation.py", r'record\(\{"(\w+)":')
    assert names == set(TOKEN_MEANS)


def test_teacher_contexts_are_documented():
    from typing import get_args

    from lab_llm.training.teacher import Context

    assert {f"teacher_context/{name}" for name in get_args(Context)} <= documented_metrics()


def test_measures_of_the_weights_are_documented():
    from lab_llm.training.rollouts import Rollouts
    from lab_rlrt.config import RLRTConfig
    from lab_rlrt.methods import make_objective

    one, many = torch.ones(1), torch.zeros(1, 2)
    ids = torch.zeros(1, 3, dtype=torch.long)
    rollouts = Rollouts(
        ids=ids,
        attention_mask=torch.ones_like(ids),
        loss_mask=torch.ones(1, 2),
        rewards=one,
        rollout_advantages=one,
        advantages=many,
        num_tokens=torch.tensor(2),
        student_logprobs=many,
        teacher_logprobs=many,
    )
    measured = make_objective(RLRTConfig()).measure(rollouts)
    assert tuple(measured) == RULES_METRICS
    assert set(measured) <= documented_metrics()


MOST_QUOTED = {"one-step": 300, "one-step-sdpo": 150, "one-step-stairs": 300}
"""Page on one step -> most lines of ours that it may quote."""
one_step_pages = pytest.mark.parametrize(
    "page", sorted((ROOT / "docs").glob("one-step*.md")), ids=lambda page: page.stem
)


def quotes(page: Path) -> list[tuple[str, str, str]]:
    """(path, qualified name, lines) of every piece of code that a page on one step quotes."""
    pattern = r"^`([\w./]+\.py)`, `([\w.]+)`:\n\n```python\n(.*?)^```"
    return re.findall(pattern, page.read_text(), flags=re.S | re.M)


def unspaced(text: str) -> str:
    """The text without white space: a quote stands further to the left than the file's lines."""
    return "".join(text.split())


@one_step_pages
def test_the_lines_that_a_page_on_one_step_quotes_stand_in_the_files(page):
    quoted = quotes(page)
    assert len(quoted) == page.read_text().count("```python")
    missing = [
        (path, name, lines)
        for path, name, lines in quoted
        if unspaced(lines) not in unspaced((ROOT / path).read_text())
        or f"def {name.split('.')[-1]}(" not in lines
    ]
    assert missing == []


@one_step_pages
def test_one_step_is_so_many_lines_of_ours_at_most(page):
    assert 0 < sum(len(lines.splitlines()) for *_, lines in quotes(page)) <= MOST_QUOTED[page.stem]


def test_scores_are_documented():
    from lab_llm.evaluation.accuracy import AccuracyEvaluator, Graded
    from lab_llm.evaluation.config import AccuracyConfig
    from lab_llm.problems import Problem

    evaluator = AccuracyEvaluator(AccuracyConfig(num_samples=2, pass_k=(2,)))
    graded = Graded(Problem(id="1", prompt=(), answer="1"), ["a", "b"], [1, 1], [1.0, 0.0])
    metrics = {score.metric for score in evaluator._scores("in_domain", [graded])}
    assert {re.sub(r"^pass@\d+$", "pass@k", name) for name in metrics} <= documented_metrics()


def test_warm_start_metrics_are_documented():
    source = "core/lab_llm/training/warm_start/trainer.py"
    logged = names_in(source, r'"(train/\w+)"')
    validated = {f"validation/{name}" for name in ("pass_rate", "epistemic_words")}
    assert logged | validated <= documented_metrics()


def test_offline_metrics_are_documented():
    from lab_marl.evaluation.rollouts import METRICS

    files = [*ROOT.glob("plugins/stairs/lab_stairs/**/*.py"), *ROOT.glob("core/lab_marl/**/*.py")]
    learners = [text for path in files if "def update(" in (text := path.read_text())]
    terms = r'(?:terms = |numbers\(|return )\{(\s*"\w*loss":.*?)\}|\| \{(".*?": norm)\}'
    found = [a or b for text in learners for a, b in re.findall(terms, text, flags=re.S)]
    logged = {name for part in found for name in re.findall(r'"(\w+)":', part)}
    assert {"td_loss", "bc_loss", "conservative_loss", "contrast_loss"} <= logged
    assert {"decoder_loss", "grad_norm", "actor_grad_norm", "planner_weight"} <= logged
    assert logged | set(METRICS) <= documented_metrics()


def example_files(heading: str) -> dict[str, str]:
    """Path -> content of every file that a section of the page on new plugins shows."""
    section = NEW_PLUGIN.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    shown = re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", section, flags=re.S | re.M)
    return dict(shown)


GRPO, OFFLINE = "The short form, GRPO", "The short form, offline multi-agent"
LEARNER = "An offline method with a learner"
LONG, PLAIN = "The long form", "Without a toolkit"
INSTALLED = {GRPO: "decay", OFFLINE: "weighted", LEARNER: "macql", LONG: "decay", PLAIN: "descent"}
ONE_GRPO_STEP = ("max_steps=1", "prompts_per_step=4", "micro_batch_size=16", "eval_size=4")
ONE_GRPO_STEP = (*ONE_GRPO_STEP, "num_samples=1", "max_new_tokens=8")
TWO_OFFLINE_STEPS = ("max_steps=2", "num_episodes=8", "batch_size=4", "rollout.episodes=1")
TWO_OFFLINE_STEPS = (*TWO_OFFLINE_STEPS, "rollout.figures=false")
FEW_STEPS = {
    GRPO: ONE_GRPO_STEP,
    OFFLINE: ("method=sharp", *TWO_OFFLINE_STEPS),
    LEARNER: TWO_OFFLINE_STEPS,
    LONG: ONE_GRPO_STEP,
    PLAIN: ("method=slow",),
}
SCORED = {
    GRPO: ("in_domain", "accuracy"),
    OFFLINE: ("unseen", "win_rate"),
    LEARNER: ("unseen", "win_rate"),
    LONG: ("in_domain", "accuracy"),
    PLAIN: ("line", "mse"),
}


@pytest.fixture(scope="module", params=INSTALLED)
def form(request, tmp_path_factory) -> tuple[str, Path, Path]:
    """A section of the page, its files in a folder, and a folder that has the package installed:
    the long form by pip, the others by their wheel alone."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    empty = ("lab_decay/__init__.py", "lab_decay/conf/__init__.py")
    files = example_files(request.param)
    files |= dict.fromkeys(empty, "") if request.param == LONG else {}
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if request.param == LONG:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        where = ["--no-build-isolation", "--target", str(target), str(source)]
        subprocess.run([*pip, *where], check=True)
    else:
        wheels.unpack(source, target)
    return request.param, source, target


def test_the_page_shows_the_files_of_the_long_form():
    assert set(example_files(LONG)) == {
        "pyproject.toml",
        "lab_decay/plugin.py",
        "lab_decay/config.py",
        "lab_decay/objectives.py",
        "lab_decay/trainer.py",
        "lab_decay/conf/method/decay.yaml",
    }


@pytest.mark.parametrize("heading", [GRPO, OFFLINE])
def test_the_short_form_is_three_files_of_45_lines_together(heading):
    files = example_files(heading)
    assert len(files) == 3
    assert sum(len(text.splitlines()) for text in files.values()) <= 45


@pytest.mark.parametrize(
    ("heading", "kind"), [(GRPO, "grpo"), (OFFLINE, "offline"), (PLAIN, "plain")]
)
def test_lab_new_writes_what_the_page_shows(heading, kind):
    assert example_files(heading) == templates(kind)


@pytest.fixture
def installed(form, home, monkeypatch) -> tuple[str, Path]:
    """The section's heading, and its files; the plugin is installed for this test."""
    heading, source, target = form
    monkeypatch.syspath_prepend(target)
    search = [str(target), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(search))
    return heading, source


def test_the_plugin_of_the_page_trains(installed, home):
    heading, _ = installed
    assert warm.exit_code(warm.fit, f"plugin={INSTALLED[heading]}", *FEW_STEPS[heading]) == 0
    (run,) = run_index.entries(home)
    assert SCORED[heading] in run.run.scores()


def test_the_tests_of_the_page_pass(installed, tmp_path):
    _, source = installed
    own = [str(path) for path in source.glob("test_*.py")]
    said = tmp_path / "said"
    assert not own or warm.exit_code(warm.own_tests, str(said), *own) == 0, said.read_text()


@pytest.mark.parametrize("form", [LEARNER], indirect=True)
def test_the_learner_of_the_page_has_the_terms_of_every_step_taken_alone(installed):
    """Step by step and agent by agent, without packed rows."""
    page = importlib.import_module("lab_macql")
    layout = marine_layout(3, 4)
    batch = wave_batch(layout, [4, 2, 3])
    learner = importlib.import_module("lab_macql.learner").MACQLLearner(
        [layout], page.MACQL(**SMALL), device=CPU
    )
    set_weights(learner.online)
    frames = filled_rows(batch)
    with torch.no_grad():
        values = [network(batch, frames) for network in (learner.online, learner.target)]
    q, later = (
        v.new_zeros(*batch.avail_actions.shape).index_put((frames.inside,), v) for v in values
    )
    errors, gaps = [], []
    for t, b in batch.transitions.nonzero().tolist():
        for i in range(layout.num_agents):
            allowed, following = batch.avail_actions[t, b, i], batch.avail_actions[t + 1, b, i]
            best = max(following.nonzero().flatten().tolist(), key=lambda a: q[t + 1, b, i, a])
            taken = q[t, b, i, batch.actions[t, b, i]]
            left = 0.99 * (1 - batch.terminated[t, b]) * later[t + 1, b, i, best]
            errors.append((taken - batch.reward[t, b] - left) ** 2)
            gaps.append(q[t, b, i, allowed].logsumexp(0) - taken)
    td, gap = learner.terms(batch)
    torch.testing.assert_close(td, torch.stack(errors).mean())
    torch.testing.assert_close(gap, torch.stack(gaps).mean())


@pytest.mark.parametrize("form", [LEARNER], indirect=True)
def test_the_learner_of_the_page_goes_on_exactly_from_a_checkpoint(installed):
    page = importlib.import_module("lab_macql")
    learner, layout = importlib.import_module("lab_macql.learner"), marine_layout(3, 4)
    config = page.MACQL(**SMALL, target_update_every=2)
    batches = [wave_batch(layout, [4, 2, 3]), wave_batch(layout, [3, 5])] * 2

    def make():
        made = learner.MACQLLearner([layout], config, device=CPU)
        set_weights(made.online)
        return made

    assert continues_exactly(make, batches, saved_after=1)


@pytest.mark.parametrize("form", [PLAIN], indirect=True)
def test_the_command_runs_the_plugin_of_the_page(installed, lab):
    done = lab("run", "plugin=descent", "method=slow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "line  mse" in done.stdout


BESIDE = {
    GRPO: (
        "method=grpo,decay",
        [
            "  method=decay (default)  trainer.gamma=0.98",
            "  method=grpo             trainer=llm.grpo",
            "  scale=laptop            A real language model",
            "gamma = 1.0",
        ],
    ),
    OFFLINE: (
        "method=bc_t,weighted",
        [
            "  method=bc_t                    BC-t: behaviour cloning",
            "  method=sharp                   trainer.temperature=0.1",
            "  method=weighted (default)      the defaults",
            "  dataset=grid                   Cooperative navigation",
            "temperature = 0.5",
        ],
    ),
}


@pytest.mark.parametrize("form", BESIDE, indirect=True)
def test_the_short_form_stands_beside_the_baseline(installed, tmp_path, lab):
    def printed(*words: str) -> str:
        assert warm.exit_code(warm.lab, str(tmp_path / "said"), *words) == 0
        return (tmp_path / "said").read_text()

    heading, _ = installed
    name, (methods, lines) = INSTALLED[heading], BESIDE[heading]
    described = printed("plugins", name)
    assert [line for line in lines if line not in described] == []
    planned = printed("run", "-m", f"plugin={name}", methods, "seed=0,1", "--dry-run")
    assert planned.startswith(f"plan: 4 run(s) of plugin {name}")
    checked = lab("plugins", name, "--check").stdout  # a new process sees what a plugin imports
    assert checked.startswith(f"{name}: 1 component, ")
    assert checked.endswith(": all well\n")
