"""The dataset component: suites, choices among files, timeouts, refusals, what a run is told."""

import dataclasses
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from lab_marl import environments
from lab_marl.datasets import stored, suites
from lab_marl.datasets.config import OfflineDataConfig
from lab_marl.datasets.generated import Recipe, generate
from lab_marl.datasets.offline import OfflineDataset
from lab_marl.environments import serial
from lab_marl.episodes import hdf5_reader
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.hdf5_writer import write
from lab_marl.episodes.layouts import check_one_network
from lab_marl.episodes.offline_data import OfflineData, cut_off, end_at_timeouts
from labrun import Dataset, Setup
from labrun.contract import Makeable
from labrun.errors import LabError, PreemptedError
from labrun.runs.context import RunContext
from labrun.runs.run_dir import RunDir


def test_suites_of_the_paper():
    hard = suites.find("smac-marine-hard")
    assert hard.train == ("3m", "5m_vs_6m", "9m_vs_10m")
    assert len(hard.test) == 12
    assert suites.find("battle-marine-hard").train == tuple(f"battle-{t}" for t in hard.train)
    assert suites.find("smac-marine-easy").test == tuple(f"{n}m" for n in range(3, 13))
    zealots = suites.find("smac-stalker-zealot")
    assert zealots.train == ("2s3z", "2s4z", "3s5z")
    assert len(zealots.test) == 13
    grid = suites.find("grid")
    assert (grid.train, grid.test) == (("cn-2", "cn-4"), ("cn-2", "cn-3", "cn-4", "cn-5"))


@pytest.mark.parametrize("name", suites.SUITES)
def test_one_network_serves_every_task_of_a_suite(name):
    suite = suites.find(name)
    names = dict.fromkeys((*suite.train, *suite.test))
    check_one_network([environments.layout_of(task) for task in names])
    assert set(suite.train) & set(suite.test)
    assert set(suite.test) - set(suite.train), "no unseen task"


def test_the_suites_are_listed_where_the_key_is_explained():
    text = Path(stored.__file__).with_name("config.py").read_text()
    explained = text[text.index("suite: str") : text.index("train_tasks")]
    assert set(suites.SUITES) == set(
        explained.split("tasks:")[1].split('."""')[0].replace(",", " ").split()
    )


def test_given_tasks_replace_the_suites():
    given = suites.tasks("grid", train=("cn-3",), test=())
    assert given == suites.Suite(("cn-3",), ("cn-2", "cn-3", "cn-4", "cn-5"))


@pytest.fixture(scope="module")
def grid_files(tmp_path_factory) -> Path:
    """cn-2 in the published form: medium of two runs (3 and 4 episodes), expert of 5 episodes."""
    root = tmp_path_factory.mktemp("published")
    for quality, run, num in (("medium", "a", 3), ("medium", "b", 4), ("expert", "a", 5)):
        folder = root / "cn-2" / quality / run
        folder.mkdir(parents=True)
        made = generate(Recipe("cn-2", quality, num, ord(run)), lambda *_: None)
        write(folder / "part_0.h5", made.episodes, environments.layout_of("cn-2"), attributes={})
        with h5py.File(folder / "part_0.h5", "r+") as stored:
            del stored["truncated"]
            for name in list(stored.attrs):
                del stored.attrs[name]
    return root


def chosen(root: Path, **settings) -> stored.Selection:
    config = OfflineDataConfig(path=str(root), **settings)
    return stored.select(config, "cn-2", environments.layout_of("cn-2"))


def read(found: stored.Selection) -> Episodes:
    return hdf5_reader.read([part.file for part in found.parts], found.layout, found.index)


def test_the_last_first_and_random_episodes_are_chosen(grid_files):
    medium = {"quality": "medium", "num_episodes": 4}
    assert chosen(grid_files, choose="last", **medium).index.tolist() == [3, 4, 5, 6]
    assert chosen(grid_files, choose="first", **medium).index.tolist() == [0, 1, 2, 3]
    drawn = [
        chosen(grid_files, choose="random", data_seed=seed, **medium).index.tolist()
        for seed in (0, 0, 1, 2, 3)
    ]
    assert drawn[0] == drawn[1]
    assert len({tuple(index) for index in drawn}) > 1
    assert all(index == sorted(set(index)) and len(index) == 4 for index in drawn)
    assert chosen(grid_files, quality="medium", num_episodes=0).index.tolist() == list(range(7))


def test_medium_expert_is_half_medium_and_half_expert(grid_files):
    """Medium's 7 episodes come first, expert's 5 are numbered from 7."""
    mixed = {"quality": "medium-expert"}
    assert chosen(grid_files, num_episodes=4, **mixed).index.tolist() == [5, 6, 10, 11]
    assert chosen(grid_files, num_episodes=5, **mixed).index.tolist() == [4, 5, 6, 10, 11]
    everything = chosen(grid_files, num_episodes=0, **mixed).index.tolist()
    assert everything == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    expert = read(chosen(grid_files, quality="expert", num_episodes=2))
    both = read(chosen(grid_files, num_episodes=4, **mixed))
    frames = expert.obs.shape[1]
    assert (both.obs[2:, :frames] == expert.obs).all()


def test_medium_expert_of_its_own_is_read_as_it_is(grid_files, tmp_path):
    shutil.copytree(grid_files, tmp_path / "data")
    folder = tmp_path / "data" / "cn-2"
    (folder / "expert").rename(folder / "medium-expert")
    found = chosen(tmp_path / "data", quality="medium-expert", num_episodes=0)
    assert found.index.tolist() == [0, 1, 2, 3, 4]


def test_a_selection_says_where_it_comes_from(grid_files):
    found = chosen(grid_files, quality="medium", num_episodes=4)
    place = f"{grid_files}/cn-2/medium, of runs: a 0 of 3, b 4 of 4"
    assert found.describe() == f"4 of 7 episodes in 2 file(s): {place}"


def test_how_many_episodes_each_run_gives_is_said(grid_files):
    first = chosen(grid_files, quality="medium", num_episodes=4, choose="first")
    assert first.describe().endswith("/medium, of runs: a 3 of 3, b 1 of 4")
    drawn = chosen(grid_files, quality="medium", num_episodes=4, choose="random")
    of_a = int((drawn.index < 3).sum())
    assert drawn.describe().endswith(f"/medium, of runs: a {of_a} of 3, b {4 - of_a} of 4")
    mixed = chosen(grid_files, quality="medium-expert", num_episodes=6)
    counts = "medium/a 0 of 3, medium/b 3 of 4, expert/a 3 of 5"
    assert mixed.describe().endswith(f"/expert, of runs: {counts}")


def test_fewer_episodes_than_asked_are_taken_and_said(grid_files):
    few = chosen(grid_files, quality="expert", num_episodes=6)
    assert few.index.tolist() == [0, 1, 2, 3, 4]
    folder = grid_files / "cn-2" / "expert"
    text = f"5 of 5 episodes in 1 file(s): {folder}, 1 fewer than dataset.num_episodes=6"
    assert few.describe() == text
    halves = chosen(grid_files, quality="medium-expert", num_episodes=40)
    assert halves.index.tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert halves.describe().endswith(", 30 fewer than dataset.num_episodes=40")


def test_the_last_run_by_name_is_read_alone_where_asked(grid_files):
    last = chosen(grid_files, quality="medium", num_episodes=0, runs="last")
    assert [part.file.parent.name for part in last.parts] == ["b"]
    assert last.index.tolist() == [0, 1, 2, 3]
    assert last.describe().endswith("/medium, run b alone (dataset.runs=last)")
    alone = chosen(grid_files, quality="expert", num_episodes=0, runs="last")
    assert alone.describe() == chosen(grid_files, quality="expert", num_episodes=0).describe()


def test_a_quality_is_any_folder_of_files_and_a_known_one_of_generated_data(grid_files, tmp_path):
    shutil.copytree(grid_files / "cn-2" / "expert", tmp_path / "cn-2" / "random")
    facts = small(path=str(tmp_path), quality="random", num_episodes=5).plan(Setup()).facts
    assert facts["cn-2"] == f"5 of 5 episodes in 1 file(s): {tmp_path}/cn-2/random"
    with pytest.raises(LabError) as caught:
        small(quality="random").plan(Setup())
    assert str(caught.value) == (
        "dataset.quality=random: no cheap policy plays it, only expert, medium, medium-expert, "
        "medium-replay; set dataset.path to a folder that holds such episodes"
    )


def episodes_of(rows: list[tuple[int, float, bool, bool]]) -> Episodes:
    """Episodes of cn-2 by (transitions, last reward, terminated, truncated)."""
    layout = environments.layout_of("cn-2")
    made = hdf5_reader.empty(layout, len(rows), layout.episode_limit + 1)
    for row, (transitions, reward, terminated, truncated) in enumerate(rows):
        made.filled[row, : transitions + 1] = True
        made.reward[row, transitions - 1] = reward
        made.terminated[row, transitions - 1] = terminated
        made.truncated[row, transitions - 1] = truncated
    return made


def ends(episodes: Episodes) -> list[bool]:
    return episodes.terminated.any(1).tolist()


def test_timeouts_of_data_without_a_flag_are_told_by_length_and_reward():
    # Success early, success at the limit of 50, a timeout stored as terminal, one left open.
    rows = [(3, 1, True, False), (50, 1, True, False), (50, 0, True, False), (50, 0, False, False)]
    data = episodes_of(rows)
    assert cut_off(data, 50, flagged=False).any(1).tolist() == [False, False, True, True]
    assert np.flatnonzero(cut_off(data, 50, flagged=False)[2]).tolist() == [49]
    terminal = end_at_timeouts(data, 50, timeouts="terminal", flagged=False)
    assert ends(terminal) == [True, True, True, True]
    bootstrap = end_at_timeouts(data, 50, timeouts="bootstrap", flagged=False)
    assert ends(bootstrap) == [True, True, False, False]
    assert bootstrap.truncated.any(1).tolist() == [False, False, True, True]


def test_timeouts_of_data_with_a_flag_are_those_that_it_marks():
    rows = [(3, 0, True, False), (50, 0, True, False), (50, 1, False, True), (50, 0, True, True)]
    data = episodes_of(rows)
    terminal = end_at_timeouts(data, 50, timeouts="terminal", flagged=True)
    assert ends(terminal) == [True, True, True, True]
    bootstrap = end_at_timeouts(data, 50, timeouts="bootstrap", flagged=True)
    assert ends(bootstrap) == [True, True, False, False]
    assert bootstrap.truncated.any(1).tolist() == [False, False, True, True]


def test_an_end_at_the_limit_without_either_flag_is_a_timeout():
    """Data with both keys, all 0, from a writer that knows no end but the limit."""
    data = episodes_of([(50, 0, False, False), (50, 1, False, False), (3, 1, True, False)])
    assert cut_off(data, 50, flagged=True).any(1).tolist() == [True, True, False]
    terminal = end_at_timeouts(data, 50, timeouts="terminal", flagged=True)
    assert ends(terminal) == [True, True, True]
    assert terminal.truncated.any(1).tolist() == [True, True, False]
    bootstrap = end_at_timeouts(data, 50, timeouts="bootstrap", flagged=True)
    assert ends(bootstrap) == [False, False, True]
    assert np.flatnonzero(bootstrap.truncated[0]).tolist() == [49]


def test_shorter_arrays_hold_no_timeout():
    data = episodes_of([(3, 0, True, False)])
    short = Episodes(**{name: values[:, :4] for name, values in data.arrays()})
    assert not cut_off(short, 50, flagged=False).any()


def small(**settings) -> OfflineDataset:
    base = {"train_tasks": ("cn-2",), "test_tasks": ("cn-2", "cn-3"), "num_episodes": 6}
    return OfflineDataset(OfflineDataConfig(**{**base, **settings}))


@pytest.fixture
def context(home, tmp_path) -> RunContext:
    folder = tmp_path / "run"
    folder.mkdir()
    return RunContext(
        run=RunDir(folder),
        seed=0,
        attempt=0,
        devices=(),
        resume_from=None,
        keep_checkpoints=1,
    )


def notes(context: RunContext) -> list[str]:
    return [event["message"] for event in context.run.events() if event["kind"] == "note"]


def test_it_keeps_to_the_contract():
    assert isinstance(small(), Dataset)
    assert isinstance(small(), Makeable)


def test_generated_data_are_loaded_and_the_run_is_told(context, home):
    dataset = small(quality="medium")
    data = dataset.load(context)
    assert isinstance(data, OfflineData)
    assert (data.train_tasks, data.test_tasks) == (("cn-2",), ("cn-2", "cn-3"))
    assert (data.seen("cn-2"), data.seen("cn-3")) == (True, False)
    assert list(data.tasks) == ["cn-2"]
    assert data.tasks["cn-2"].layout == environments.layout_of("cn-2")
    made = generate(Recipe("cn-2", "medium", 6, 0), lambda *_: None).episodes
    frames = int(made.lengths.max())
    assert (data.tasks["cn-2"].episodes.obs == made.obs[:, :frames]).all()
    assert notes(context)[0].startswith(
        "data of cn-2: generated by cheap grid policies, 6 medium with noise 0.05; "
    )
    assert (context.run_dir / "progress.json").exists()
    assert list((home / "data" / "marl" / "cn-2" / "medium").glob("*/part_0.h5"))


def test_a_timeout_ends_the_task_unless_bootstrap_is_asked_for(home):
    """Play at random leaves cn-5 unsolved in most episodes."""
    played = {"train_tasks": ("cn-5",), "test_tasks": ("cn-5",), "quality": "medium-replay"}
    loaded = {
        how: small(**played, timeouts=how).load().tasks["cn-5"].episodes
        for how in ("terminal", "bootstrap")
    }
    cut = loaded["terminal"].truncated.any(1)
    assert cut.any()
    assert loaded["terminal"].terminated.any(1).all()
    assert (loaded["bootstrap"].terminated.any(1) == ~cut).all()


def test_a_run_that_is_to_stop_stops_while_data_are_made(context, home):
    context.should_stop = True
    with pytest.raises(PreemptedError):
        small().load(context)
    assert not list(home.rglob("part_*.h5"))
    context.should_stop = False
    assert len(small().load(context).tasks["cn-2"].episodes) == 6


def test_files_are_loaded_as_they_are_chosen(grid_files, context):
    dataset = small(path=str(grid_files), quality="medium", num_episodes=4)
    episodes = dataset.load(context).tasks["cn-2"].episodes
    files = sorted((grid_files / "cn-2" / "medium").glob("*/part_0.h5"))
    layout = environments.layout_of("cn-2")
    expected = hdf5_reader.read(files, layout, np.arange(3, 7))
    assert (episodes.obs == expected.obs).all()
    (note,) = notes(context)
    assert note.startswith("data of cn-2: 4 of 7 episodes in 2 file(s): ")
    assert note.endswith(" of 4 cut off, told by their length")


def with_full_length(root: Path, *, flagged: bool, terminated: int, mask: int) -> Path:
    """cn-2 with four episodes of 50 transitions: all flags as given on the last transition,
    reward 0, the last frame's masks `mask`."""
    layout = environments.layout_of("cn-2")
    made = generate(Recipe("cn-2", "medium", 4, 0), lambda *_: None).episodes
    episodes = hdf5_reader.empty(layout, 4, layout.episode_limit + 1)
    for name, values in episodes.arrays():
        values[:] = getattr(made, name)[:, :1]
    episodes.filled[:] = True
    episodes.terminated[:], episodes.truncated[:], episodes.reward[:] = False, False, 0
    episodes.terminated[:, -2] = terminated
    episodes.avail_actions[:, -1] = mask
    folder = root / "cn-2" / "expert" / "a"
    folder.mkdir(parents=True)
    write(folder / "part_0.h5", episodes, layout, attributes={})
    if not flagged:
        with h5py.File(folder / "part_0.h5", "r+") as stored:
            del stored["truncated"]
    return root


def test_full_length_episodes_with_both_flags_0_are_cut_off(tmp_path, context):
    path = str(with_full_length(tmp_path / "data", flagged=True, terminated=0, mask=1))
    data = small(path=path, num_episodes=4, timeouts="terminal").load(context)
    assert ends(data.tasks["cn-2"].episodes) == [True] * 4
    assert notes(context)[0].endswith("; 4 of 4 cut off, 4 of them told by their length")
    bootstrap = small(path=path, num_episodes=4, timeouts="bootstrap").load()
    assert ends(bootstrap.tasks["cn-2"].episodes) == [False] * 4


@pytest.mark.parametrize("timeouts", ["terminal", "bootstrap"])
def test_terminated_episodes_may_end_without_an_allowed_action(timeouts, tmp_path):
    path = str(with_full_length(tmp_path, flagged=True, terminated=1, mask=0))
    data = small(path=path, num_episodes=4, timeouts=timeouts).load()
    assert ends(data.tasks["cn-2"].episodes) == [True] * 4


def test_masks_that_allow_nothing_are_refused_where_timeouts_make_their_frame_count(tmp_path):
    """Without the flag, an end at the limit without a reward is a timeout."""
    path = str(with_full_length(tmp_path, flagged=False, terminated=1, mask=0))
    small(path=path, num_episodes=4, timeouts="terminal").load()
    with pytest.raises(LabError) as caught:
        small(path=path, num_episodes=3, timeouts="bootstrap").load()
    assert str(caught.value) == (
        "data of cn-2 with dataset.timeouts=bootstrap: avail_actions allows an agent no action: "
        "episode 1, frame 50, agent 0; mend the episode where the data were made, or leave it out"
    )


def test_the_plan_makes_nothing(grid_files, home):
    facts = small().plan(Setup()).facts
    assert (facts["train"], facts["test"], facts["unseen"]) == ("cn-2", "cn-2, cn-3", "cn-3")
    assert str(facts["cn-2"]).startswith(f"6 episodes, to be generated: {home}/data/marl/cn-2/")
    assert not home.exists()
    files = small(path=str(grid_files), quality="expert", num_episodes=5).plan(Setup()).facts
    assert files["cn-2"] == f"5 of 5 episodes in 1 file(s): {grid_files}/cn-2/expert"


def test_the_plan_tells_the_statistics_of_data_that_are_there(home):
    dataset = small()
    facts = dataset.make(lambda *_: None)
    assert str(facts["cn-2"]).startswith("6 episodes, won 1.000, return 1.00, length ")
    (file,) = home.rglob("part_0.h5")
    assert str(facts["cn-2"]).endswith(f": {file}")
    assert str(dataset.plan(Setup()).facts["cn-2"]).endswith(f", generated: {file}")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"suite": "gird"}, "no suite 'gird'; did you mean 'grid'? allowed: grid, "),
        ({"train_tasks": ("cn-1",)}, "no task 'cn-1'; "),
        (
            {"train_tasks": ("cn-2", "battle-3m")},
            "tasks 'cn-2' and 'battle-3m' cannot share one network: own features 2 against ",
        ),
        (
            {"train_tasks": ("3m",), "test_tasks": ("battle-3m",)},
            "task '3m' has no cheap policy to make data with; ",
        ),
        ({"num_episodes": 0}, "dataset.num_episodes=0 means all episodes of files; "),
        ({"train_tasks": ("cn-2", "cn-3", "cn-2")}, "dataset.train_tasks names 'cn-2' twice"),
        ({"test_tasks": ("cn-3", "cn-3")}, "dataset.test_tasks names 'cn-3' twice"),
    ],
)
@pytest.mark.usefixtures("home")
def test_settings_that_cannot_work_are_refused(settings, expected):
    with pytest.raises(LabError) as caught:
        small(**settings).plan(Setup())
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("home")
def test_a_simulator_that_is_missing_is_refused_where_it_is_played(monkeypatch, grid_files):
    monkeypatch.setattr(serial, "find_spec", lambda package: None)
    spread = {"train_tasks": ("spread-2",), "test_tasks": ("spread-2", "spread-3")}
    with pytest.raises(LabError, match="mpe2 is not installed; run: pip install 'labrun\\[marl]'"):
        small(**spread).plan(Setup())
    small(path=str(grid_files), num_episodes=5).plan(Setup())


def test_a_folder_without_the_task_is_refused(grid_files, tmp_path):
    with pytest.raises(LabError) as caught:
        small(path=str(grid_files), train_tasks=("cn-4",)).plan(Setup())
    assert str(caught.value) == (
        f"no {grid_files}/cn-4/expert/<run>/part_*.h5; {grid_files} holds cn-2"
    )
    (tmp_path / "cn-3").mkdir()
    shutil.copytree(grid_files / "cn-2" / "expert", tmp_path / "cn-3" / "expert")
    with pytest.raises(LabError, match="obs has 2 agents, task cn-3 has 3"):
        small(path=str(tmp_path), train_tasks=("cn-3",), num_episodes=5).plan(Setup())


def test_data_of_another_project_are_refused_with_the_way_to_convert_them(tmp_path):
    folder = tmp_path / "cn-2" / "expert" / "run"
    folder.mkdir(parents=True)
    (folder / "part_0.pkl").write_bytes(b"")
    with pytest.raises(LabError) as caught:
        small(path=str(tmp_path)).plan(Setup())
    assert str(caught.value) == (
        f"no {tmp_path}/cn-2/expert/<run>/part_*.h5; {tmp_path}/cn-2/expert holds run; {folder} is "
        f"a folder of pickles (ODIS): lab data convert {folder} TARGET --task NAME"
    )


def test_nothing_is_made_of_files(grid_files):
    with pytest.raises(LabError, match="its files are read; nothing to make"):
        small(path=str(grid_files)).make(lambda *_: None)


def test_the_fingerprint_of_files_is_their_content_and_the_choice(grid_files, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(grid_files, copy)
    settings = {"quality": "medium", "num_episodes": 4}
    first = small(path=str(grid_files), **settings).fingerprint()
    assert small(path=str(copy), **settings).fingerprint() == first
    assert small(path=str(copy), **settings, choose="first").fingerprint() != first
    assert small(path=str(copy), **settings, timeouts="bootstrap").fingerprint() != first
    with h5py.File(copy / "cn-2" / "medium" / "b" / "part_0.h5", "r+") as stored:
        stored["obs"][0, 0, 0, 0] += 1
    assert small(path=str(copy), **settings).fingerprint() != first


@pytest.mark.usefixtures("home")
def test_the_fingerprint_of_generated_data_is_their_recipe():
    first = small().fingerprint()
    assert small().fingerprint() == first
    others = [
        small(**changed).fingerprint()
        for changed in (
            {"quality": "medium"},
            {"num_episodes": 7},
            {"data_seed": 1},
            {"train_tasks": ("cn-3",)},
            {"timeouts": "bootstrap"},
        )
    ]
    assert len({first, *others}) == 6
    assert small(test_tasks=("cn-2",)).fingerprint() == first
    small().make(lambda *_: None)
    assert small().fingerprint() == first


def test_layouts_list_training_tasks_first():
    layouts = small(train_tasks=("cn-4", "cn-2")).layouts()
    assert list(layouts) == ["cn-4", "cn-2", "cn-3"]
    assert dataclasses.asdict(layouts["cn-3"])["num_agents"] == 3
