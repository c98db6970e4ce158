"""Data from cheap policies: what a quality consists of, and that a recipe decides it all."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import get_args

import h5py
import numpy as np
import pytest
from lab_marl import environments
from lab_marl.behaviours import tiers
from lab_marl.behaviours.qualities import Quality
from lab_marl.behaviours.tiers import Stage, stages
from lab_marl.datasets import cache, generated
from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.datasets.generated import Recipe, batches, generate
from lab_marl.datasets.offline import OfflineDataset
from lab_marl.environments import grid
from lab_marl.episodes import hdf5_reader
from lab_marl.episodes.episodes import Episodes
from labrun.errors import LabError

ACTIONS_OF_VERSION_1, ACTIONS_OF_VERSION_2 = "b6098e0c611c", "f467e03e49ba"
PLANNED_OF_VERSION_1, PLANNED_OF_VERSION_3 = "dc83857fa01c", "e7f18e5f14a2"


def quiet(what: str, done: int, total: int) -> None:
    return


def planned(quality: str, num: int, task: str = "battle-3m") -> list[tuple[str, float, int]]:
    made = stages(environments.layout_of(task), quality, num)
    return [(stage.tier, stage.epsilon, stage.count) for stage in made]


def test_expert_and_medium_are_one_stage_each():
    assert planned("expert", 7) == [("expert", 0.0, 7)]
    assert planned("medium", 7) == [("medium", 0.2, 7)]
    assert planned("medium", 7, "smax-3m") == [("medium", 0.1, 7)]


def test_medium_expert_is_half_of_each():
    assert planned("medium-expert", 10) == [("medium", 0.2, 5), ("expert", 0.0, 5)]
    assert planned("medium-expert", 7) == [("medium", 0.2, 3), ("expert", 0.0, 4)]


def test_medium_replay_falls_evenly_from_random_play_to_medium():
    # From 1 to 0.1 in ten levels, nine steps of 0.1 each, if medium were 0.1; here it is 0.2.
    levels = planned("medium-replay", 20)
    assert [tier for tier, _, _ in levels] == ["medium"] * 10
    assert [count for _, _, count in levels] == [2] * 10
    noises = [noise for _, noise, _ in levels]
    assert (noises[0], noises[-1]) == (1.0, 0.2)
    assert np.allclose(np.diff(noises), -0.8 / 9, atol=1e-6)


def test_few_episodes_leave_stages_out_and_still_add_up():
    assert [count for _, _, count in planned("medium-replay", 3)] == [1, 1, 1]
    assert planned("medium-expert", 1) == [("expert", 0.0, 1)]


def test_stages_are_played_in_batches_of_at_most_128():
    made = list(batches([Stage("medium", 0.2, 300), Stage("expert", 0.0, 5)]))
    assert [(b.number, b.start, b.stage.count, b.stage.tier) for b in made] == [
        (0, 0, 128, "medium"),
        (1, 128, 128, "medium"),
        (2, 256, 44, "medium"),
        (3, 300, 5, "expert"),
    ]


def same(one: Episodes, other: Episodes) -> bool:
    """Equal up to the last frame that one of them fills."""
    frames = int(one.lengths.max())
    pairs = zip(one.arrays(), other.arrays(), strict=True)
    return all((a[:, :frames] == b[:, :frames]).all() for (_, a), (_, b) in pairs)


@pytest.mark.parametrize("task", ["cn-3", "battle-3m"])
def test_equal_recipes_give_equal_episodes_and_others_do_not(task):
    first = generate(Recipe(task, "medium", 6, 0), quiet).episodes
    assert same(first, generate(Recipe(task, "medium", 6, 0), quiet).episodes)
    assert not same(first, generate(Recipe(task, "medium", 6, 1), quiet).episodes)
    assert not (first.obs[:3] == first.obs[3:]).all()


def test_qualities_begin_in_other_places():
    one = generate(Recipe("cn-3", "medium", 6, 0), quiet).episodes
    other = generate(Recipe("cn-3", "expert", 6, 0), quiet).episodes
    assert not (one.obs[:, 0] == other.obs[:, 0]).all()


def test_each_stage_is_played_by_its_tier():
    """In cn-4 the expert wins at once and always, the medium team seldom; in battles the noise of
    medium-replay falls."""
    made = generate(Recipe("cn-4", "medium-expert", 80, 0), quiet)
    lengths = made.episodes.lengths - 1
    assert made.won[40:].all()
    assert lengths[40:].mean() < 8
    assert 0.0 < made.won[:40].mean() < 0.5
    replay = generate(Recipe("battle-3m", "medium-replay", 200, 0), quiet)
    assert replay.won[:20].mean() < replay.won[-20:].mean()


def test_statistics_are_of_the_episodes():
    made = generate(Recipe("cn-2", "expert", 5, 0), quiet)
    assert made.won.all()
    transitions = [int(np.flatnonzero(row)[0]) + 1 for row in made.episodes.terminated]
    assert made.statistics() == {
        "win_rate": 1.0,
        "mean_return": 1.0,
        "mean_length": sum(transitions) / 5,
    }


def test_progress_names_what_is_made_and_ends_with_all():
    seen = []
    generate(Recipe("cn-2", "medium", 130, 0), lambda *state: seen.append(state))
    assert {what for what, _, _ in seen} == {"cn-2 medium"}
    assert sorted({done for _, done, _ in seen}) == [0, 128, 130]
    assert seen[-1] == ("cn-2 medium", 130, 130)


def test_a_task_without_a_cheap_policy_is_refused():
    with pytest.raises(LabError) as caught:
        stages(environments.layout_of("3m"), "medium", 5)
    assert str(caught.value) == (
        "task '3m' has no cheap policy to make data with; "
        "set dataset.path to a folder that holds its episodes"
    )


def test_random_joints_replace_whole_agents():
    frame, live = None, np.ones(50, bool)
    rng = np.random.default_rng(0)
    still = np.full((50, 2, 3), 2.0, np.float32)

    def made(epsilon: float) -> np.ndarray:
        return tiers.with_random_joints(lambda *_: still, epsilon=epsilon, rng=rng)(frame, live)

    assert (made(0.0) == still).all()
    assert (np.abs(made(1.0)) <= 1).all()
    swapped = made(0.5) != 2
    assert (swapped.all(-1) == swapped.any(-1)).all()
    assert 30 < swapped.all(-1).sum() < 70


def test_data_of_version_2_have_not_changed():
    """Whoever changes a cheap policy raises `VERSION` of generated.py, or its tier's own number in
    `REVISIONS`, so that kept data are made anew."""
    made = generate(Recipe("cn-3", "medium-replay", 40, 0), quiet)
    actions = made.episodes.actions
    assert digest(actions) == ACTIONS_OF_VERSION_2
    # Version 1 kept no action at the last frame of an episode; the others are the same.
    actions[np.arange(40), made.episodes.lengths - 1] = 0
    assert digest(actions) == ACTIONS_OF_VERSION_1


def test_planned_data_of_version_3_have_not_changed():
    recipe = Recipe("cn-3", "expert", 40, 0)
    made = generate(recipe, quiet)
    actions = made.episodes.actions
    assert recipe.version == 3
    assert digest(actions) == PLANNED_OF_VERSION_3
    # Version 2 planned nothing for the last frame of an episode; the others are the same.
    actions[np.arange(40), made.episodes.lengths - 1] = 0
    assert digest(actions) == PLANNED_OF_VERSION_1


def test_a_tiers_revision_makes_only_the_data_anew_that_it_plays_in(monkeypatch):
    def version(task: str, quality: Quality) -> int:
        return Recipe(task, quality, 10, 0).version

    played = {quality: version("cn-3", quality) for quality in get_args(Quality)}
    assert played == {"expert": 3, "medium": 2, "medium-expert": 3, "medium-replay": 2}
    assert {version("battle-3m", quality) for quality in get_args(Quality)} == {2}
    monkeypatch.setitem(generated.REVISIONS, ("grid", "medium"), 1)
    played = {quality: version("cn-3", quality) for quality in get_args(Quality)}
    assert played == {"expert": 3, "medium": 3, "medium-expert": 4, "medium-replay": 3}


def digest(actions: np.ndarray) -> str:
    return hashlib.sha256(actions.astype("<i8").tobytes()).hexdigest()[:12]


def test_the_action_at_the_last_frame_is_an_allowed_one():
    episodes = generate(Recipe("battle-3m", "medium", 4, 0), quiet).episodes
    rows, last = np.arange(4), episodes.lengths - 1
    chosen, allowed = episodes.actions[rows, last], episodes.avail_actions[rows, last]
    assert np.take_along_axis(allowed, chosen[..., None], -1).all()
    assert chosen.any()


def test_a_planned_agent_goes_for_its_own_landmark_at_the_last_frame_too():
    """The team has won there: whoever heads for its own landmark stays in its reach."""
    episodes = generate(Recipe("cn-3", "expert", 40, 0), quiet).episodes
    rows, last = np.arange(40), episodes.lengths - 1
    cells = episodes.state[rows, last].reshape(40, 2, 3, 2).astype(int)
    agents = cells[:, 0] + grid.MOVES[episodes.actions[rows, last]]
    assert grid.matched(grid.within(agents[:, :, None], cells[:, 1, None], grid.REACH)).all()


def test_robots_are_played_by_policies_that_were_searched_for(monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.setattr(tiers, "SEARCH_ITERATIONS", 1)
    seen = []
    recipe = Recipe("halfcheetah-2x3", "medium-replay", 10, 0)
    made = generate(recipe, lambda *state: seen.append(state))
    assert ("policies of halfcheetah-2x3", 1, 1) in seen
    assert made.episodes.truncated[:, 199].all()
    assert (np.abs(made.episodes.actions) <= 1).all()
    # The one policy found is all zeros; the first episode is random, the last has its noise alone.
    spread = made.episodes.actions[:, :200].std((1, 2, 3))
    assert spread[0] == pytest.approx(1 / np.sqrt(3), abs=0.03)
    assert spread[-1] == pytest.approx(0.1, abs=0.01)


@pytest.mark.usefixtures("home")
def test_the_file_of_a_recipe_is_made_once_with_its_facts():
    recipe = Recipe("cn-2", "medium", 5, 3)
    assert cache.kept(recipe) is None
    file = cache.ensure(recipe, quiet)
    assert file.parts[-5:-2] == ("marl", "cn-2", "medium")
    assert file.parent.name == f"n5-s3-{recipe.digest()[:12]}"
    written = file.stat().st_mtime_ns
    assert cache.ensure(recipe, quiet).stat().st_mtime_ns == written
    assert same(hdf5_reader.read([file], recipe.layout), generate(recipe, quiet).episodes)
    with h5py.File(file) as stored:
        facts = dict(stored.attrs)
    assert (facts["task"], facts["quality"], facts["seed"]) == ("cn-2", "medium", 3)
    assert facts["policy"] == "cheap grid policies, 5 medium with noise 0.05"
    assert set(generate(recipe, quiet).statistics().items()) <= set(facts.items())
    part = cache.kept(recipe)
    assert part is not None
    assert (part.num_episodes, part.has_truncated) == (5, True)


@pytest.mark.usefixtures("home")
def test_recipes_do_not_share_a_file():
    base = Recipe("cn-2", "medium", 5, 0)
    others = [
        Recipe("cn-3", "medium", 5, 0),
        Recipe("cn-2", "expert", 5, 0),
        Recipe("cn-2", "medium", 6, 0),
        Recipe("cn-2", "medium", 5, 1),
    ]
    assert len({cache.path_of(recipe) for recipe in [base, *others]}) == 5
    assert len({recipe.digest() for recipe in [base, *others]}) == 5


@pytest.mark.usefixtures("home")
def test_two_at_once_make_the_data_once(monkeypatch):
    """The second waits, gives signs of life, and then finds the file."""
    monkeypatch.setattr(cache, "WAIT_S", 0.02)
    recipe = Recipe("cn-2", "medium", 3, 0)
    begun, go_on = threading.Event(), threading.Event()
    said: dict[str, list[tuple[str, int, int]]] = {"one": [], "other": []}

    def teller(name: str) -> Callable[[str, int, int], None]:
        def tell(what: str, done: int, total: int) -> None:
            said[name].append((what, done, total))
            if name == "one":
                begun.set()
                go_on.wait(10)
            else:
                go_on.set()

        return tell

    one = threading.Thread(target=cache.ensure, args=(recipe, teller("one")))
    one.start()
    assert begun.wait(10)
    cache.ensure(recipe, teller("other"))
    one.join()
    assert said["one"][-1] == ("cn-2 medium", 3, 3)
    assert set(said["other"]) == {("another process makes it", 0, 3)}


@pytest.mark.usefixtures("home")
def test_a_process_that_is_killed_while_it_makes_data_leaves_no_half_file():
    code = (
        "import os\nfrom lab_marl.datasets import cache\n"
        "from lab_marl.datasets.generated import Recipe\n"
        "from lab_marl.episodes import hdf5_writer\n"
        "hdf5_writer.os.replace = lambda *_: os._exit(9)\n"
        "cache.ensure(Recipe('cn-2', 'medium', 3, 0), lambda *_: None)"
    )
    killed = subprocess.run([sys.executable, "-c", code], env=os.environ)
    assert killed.returncode == 9
    recipe = Recipe("cn-2", "medium", 3, 0)
    folder = cache.path_of(recipe).parent
    assert len(list(folder.glob(".part_0.h5.*"))) == 1
    assert cache.kept(recipe) is None
    cache.ensure(recipe, quiet)
    assert sorted(p.name for p in folder.iterdir() if p.name != ".lock") == ["part_0.h5"]


@pytest.mark.usefixtures("home")
def test_a_damaged_file_is_named_with_its_remedy():
    recipe = Recipe("cn-2", "medium", 3, 0)
    file = cache.ensure(recipe, quiet)
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    with pytest.raises(LabError) as caught:
        cache.kept(recipe)
    assert str(caught.value).startswith(f"{file} cannot be read as HDF5 (truncated file")
    assert str(caught.value).endswith(f"; delete {file} and it is made again")
    file.write_bytes(whole)
    with h5py.File(file, "r+") as stored:
        del stored["reward"]
        stored["reward"] = np.full((3, 51, 1), np.nan)
    config = OfflineDataConfig(train_tasks=("cn-2",), quality="medium", num_episodes=3)
    with pytest.raises(LabError) as caught:
        OfflineDataset(config).load()
    assert str(caught.value).startswith(f"{file}: reward is NaN or infinite: episode 0, frame 0")
    assert str(caught.value).endswith(f"; delete {file} and it is made again")


def test_a_home_that_cannot_be_made_is_a_clear_refusal(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABRUN_HOME", str(tmp_path / "file"))
    with pytest.raises(LabError, match=r"cannot make .*; set LABRUN_HOME"):
        cache.ensure(Recipe("cn-2", "medium", 3, 0), quiet)
