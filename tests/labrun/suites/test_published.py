"""The published tables of this project: every arm at every scale composes and is planned."""

from functools import cache
from importlib.util import find_spec

import pytest
from labrun.config.components import build
from labrun.config.experiments import key_without_seed
from labrun.errors import LabError
from labrun.experiment import Experiment
from labrun.plan import Setup
from labrun.suites import finding
from labrun.suites.needed import Needed, needed
from labrun.suites.reading import read
from labrun.suites.suite import Suite

NAMES = [*finding.files()]
PLACES = [(name, scale) for name in NAMES for scale in read(finding.files()[name]).scales]
NO_GAME = {"stairs-smac", "stairs-smacv2"}
"""Suites of games that no toy stands for."""


@cache
def suite_of(name: str) -> Suite:
    return finding.find(name)


@cache
def runs_of(name: str, scale: str) -> list[Needed]:
    suite = suite_of(name)
    return needed(suite, suite.scales[scale])


def test_every_published_table_has_a_suite():
    assert set(NAMES) == {
        "rlrt-main",
        "rlrt-ablations",
        "epistemic-richness",
        "epistemic-offpolicy",
        "epistemic-onpolicy",
        "epistemic-coverage",
        "stairs-smac",
        "stairs-smacv2",
        "stairs-mpe",
        "stairs-mamujoco",
        "stairs-ablations",
        "smax-marine",
        "smax-v2",
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_suite_has_its_question_and_source_and_the_published_scale(name):
    suite = suite_of(name)
    assert suite.question.endswith("?")
    assert suite.source is not None
    assert suite.source.paper.startswith("arXiv ")
    assert suite.published_scale() is not None
    assert ("tiny" in suite.scales) == (name not in NO_GAME)


@pytest.mark.parametrize(("name", "scale"), PLACES)
def test_every_run_composes_and_every_arm_is_planned(name, scale, tmp_path, monkeypatch):
    """Plans of one seed, where no data lie beside; a plan may only want what the suite says that
    the user has to give, or an extra that is not installed here."""
    monkeypatch.chdir(tmp_path)
    needs = [*suite_of(name).scales[scale].needs]
    if name.startswith("smax") and find_spec("jaxmarl") is None:
        needs.append("pip install 'labrun[smax]'")
    planned = {key_without_seed(one.experiment): one.experiment for one in runs_of(name, scale)}
    for experiment in planned.values():
        sections, fault = plan_of(experiment)
        assert {"dataset", "trainer"} <= sections or any(key in fault for key in needs), fault


def plan_of(experiment: Experiment) -> tuple[set[str], str]:
    """The sections that were planned; or none, and why."""
    try:
        return {*build(experiment).plan(experiment.run.resources)}, ""
    except LabError as error:
        return set(), str(error)


def test_study_4_takes_the_published_sets_by_name_and_misses_them_where_they_are_not(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found = {}
    for one in runs_of("epistemic-coverage", "paper"):
        (missing, *_) = build(one.experiment).dataset.plan(Setup()).missing
        found[one.point["problems"]] = missing
    files = {"1": "1x64", "8": "8x8", "64": "64", "128": "128", "512": "512"}
    assert found.keys() == {*files, "all"}
    for label, name in files.items():
        assert f"section_6_2/seen_{name}.parquet'; there is no folder ../shared" in found[label]
    assert "hf download --repo-type dataset BytedTsinghua-SIA/DAPO-Math-17k" in found["all"]


NUM_RUNS = {
    ("rlrt-main", "tiny"): 7 * 5,
    ("rlrt-main", "paper"): 7 * 4,
    ("epistemic-onpolicy", "paper"): 4 * 5 - 2,
    ("epistemic-coverage", "tiny"): 2 * 4 * 5,
    ("epistemic-coverage", "paper"): 2 * 6,
    ("stairs-smac", "paper"): 4 * 3 * 4 * 5,
    ("stairs-ablations", "paper"): 6 * 3 * 4 * 5,
}


@pytest.mark.parametrize(("name", "scale"), NUM_RUNS)
def test_arms_axes_and_seeds_are_multiplied(name, scale):
    assert len(runs_of(name, scale)) == NUM_RUNS[name, scale]


@pytest.mark.parametrize("name", NAMES)
def test_the_battles_of_our_own_stand_beside_no_published_column(name):
    for scale in suite_of(name).scales:
        texts = [str(one.experiment.settings["dataset"]) for one in runs_of(name, scale)]
        assert not any("battle" in text for text in texts)


def test_smax_stands_beside_no_published_column():
    for name in ("smax-marine", "smax-v2"):
        for scale in suite_of(name).scales.values():
            assert not any(row.published for row in scale.rows)


@pytest.mark.parametrize("name", NAMES)
def test_paper_scale_is_the_published_preset(name):
    presets = {one.experiment.choices["scale"] for one in runs_of(name, "paper")}
    own = {"epistemic-offpolicy": "paper_sft", "epistemic-richness": "paper_richness"}
    assert presets == {own.get(name, "paper")}


def published(name: str, row: str) -> dict[str, float]:
    rows = {one.name: one for one in suite_of(name).scales["paper"].rows}
    return dict(rows[row].published)


def test_the_published_numbers_are_those_of_the_papers():
    assert published("rlrt-main", "aime24 accuracy Qwen3-4B-Base") == {
        "rlrt": 22.5,
        "grpo": 15.0,
        "rlsd": 13.3,
    }
    assert published("epistemic-richness", "none epistemic_count") == {"before training": 182}
    assert published("epistemic-richness", "solution epistemic_count") == {"before training": 9}
    assert published("stairs-smac", "total") == {
        "updet_m": 23.5,
        "odis": 37.0,
        "hissd": 57.2,
        "stairs": 67.4,
    }
    assert published("stairs-ablations", "total")["no_std"] == 57.3
    assert published("stairs-smacv2", "total")["stairs"] == 30.3


def test_the_total_of_smac_weighs_the_tasks_alike_and_gives_the_published_totals_within_one():
    total = next(r for r in suite_of("stairs-smac").scales["paper"].rows if r.name == "total")
    seen, unseen = (published("stairs-smac", f"all {w} tasks") for w in ("seen", "unseen"))
    weights = total.tasks
    for arm, number in total.published.items():
        mean = (weights["seen"] * seen[arm] + weights["unseen"] * unseen[arm]) / sum(
            weights.values()
        )
        assert abs(mean - number) < 1.0


def test_the_ablations_repeat_the_main_table_where_their_settings_are_its_own():
    main, ablations = (suite_of(name).scales["paper"] for name in ("rlrt-main", "rlrt-ablations"))
    published = {next(iter(row.tasks)): row.published for row in main.rows if row.published}
    for row in ablations.rows:
        if row.published:
            (task,) = row.tasks
            assert row.published == {
                "rlrt": published[task]["rlrt"],
                "lam_0": published[task]["grpo"],
            }
    assert sum(bool(row.published) for row in ablations.rows) == 3
