"""Data of other projects: read, checked and written in the published layout, or refused."""

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
from lab_marl import environments
from lab_marl.datasets import converting
from lab_marl.datasets.converting import convert
from lab_marl.datasets.generated import Recipe, generate
from lab_marl.datasets.showing import show
from lab_marl.episodes import hdf5_files, hdf5_reader, hdf5_writer
from lab_marl.episodes.episodes import Episodes
from labrun.errors import LabError

LAYOUT = environments.layout_of("cn-2")


@pytest.fixture(scope="module")
def played() -> Episodes:
    """Six episodes of cn-2. The longest was cut off one step before its success."""
    episodes = generate(Recipe("cn-2", "medium-replay", 6, 1), lambda *_: None).episodes
    row = int(episodes.lengths.argmax())
    last = int(episodes.lengths[row]) - 2
    episodes.terminated[row, last], episodes.truncated[row, last] = False, True
    episodes.reward[row, last] = 0
    return episodes


def flat(episodes: Episodes) -> dict[str, np.ndarray]:
    """The transitions of all episodes, one after the other."""
    moves = np.zeros_like(episodes.filled)
    moves[:, :-1] = episodes.filled[:, 1:]
    return {name: values[moves] for name, values in episodes.arrays()}


def as_vault(
    folder: Path, episodes: Episodes, changed: Mapping[str, np.ndarray | None] | None = None
) -> Path:
    """What a vault's writer leaves: keys [1, T, ...], longer than what was written; some of them
    otherwise, or left out."""
    ts = pytest.importorskip("tensorstore")
    steps = flat(episodes)
    num = len(steps["reward"])
    agents = (1, 2)
    keys = {
        "observations.": steps["obs"],
        "actions.": steps["actions"],
        "rewards.": np.tile(steps["reward"][:, None], agents),
        "terminals.": np.tile(steps["terminated"][:, None], agents),
        "truncations.": np.tile(steps["truncated"][:, None], agents),
        "infos.state.": steps["state"],
        "infos.legals.": steps["avail_actions"].astype(np.float32),
    }
    for name, values in (changed or {}).items():
        keys.pop(name)
        keys |= {} if values is None else {name: values}
    arrays = {name: np.concatenate([v, v[:3]])[None] for name, v in keys.items()}
    arrays["vault_index"] = np.array([num], np.int32)
    folder.mkdir(parents=True)
    for name, values in arrays.items():
        store = {"driver": "ocdbt", "base": f"file://{folder}", "path": name}
        spec = {"driver": "zarr", "kvstore": store}
        made = ts.open(spec, dtype=values.dtype, shape=values.shape, create=True).result()
        made.write(values).result()
    return folder


def converted(tmp_path: Path, source: Path, task: str = "cn-2") -> Episodes:
    (line,) = convert(source, tmp_path / "out", task=task, quality="good")
    file = Path(line.rpartition(": ")[2])
    assert file == tmp_path / "out" / task / "good" / source.name / "part_0.h5"
    return hdf5_reader.read([file], environments.layout_of(task))


def check_cut(found: Episodes, played: Episodes) -> None:
    """An episode that was cut off has lost its last transition, the others nothing but what was
    seen at the end."""
    cut = played.truncated.any(1)
    assert found.lengths.tolist() == (played.lengths - cut).tolist()
    assert found.truncated.any(1).tolist() == cut.tolist()
    assert found.terminated.any(1).tolist() == (~cut).tolist()
    for row, length in enumerate(found.lengths):
        moves = length - 1
        for name in ("obs", "state", "actions", "avail_actions", "reward"):
            one, other = getattr(found, name)[row], getattr(played, name)[row]
            assert (one[:moves] == other[:moves]).all(), name
    seen = found.lengths[cut][0] - 1
    assert (found.obs[cut][0, seen] == played.obs[cut][0, seen]).all()


def test_a_vault_is_read_without_jax(tmp_path, played):
    check_cut(converted(tmp_path, as_vault(tmp_path / "3m.vlt" / "Good", played)), played)


def test_a_vault_without_a_key_is_refused(tmp_path, played):
    vault = as_vault(tmp_path / "Good", played)
    (vault / "manifest.ocdbt").write_bytes(b"nothing")
    with pytest.raises(LabError, match="Good: key 'vault_index' cannot be read: "):
        convert(vault, tmp_path / "out", task="cn-2", quality="good")
    assert not (tmp_path / "out").exists()


def marked(shape: tuple[int, ...], value: float) -> np.ndarray:
    """Ones of float32 with one other value, at step 2."""
    values = np.ones(shape, np.float32)
    values[(2, *[0] * (len(shape) - 1))] = value
    return values


@pytest.mark.parametrize("value", [np.nan, 1.5, 256, -1])
@pytest.mark.parametrize(
    ("name", "width"), [("infos.legals.", 5), ("terminals.", 0), ("truncations.", 0)]
)
@pytest.mark.filterwarnings("error")
def test_a_vaults_flags_and_masks_are_0_or_1(name, width, value, tmp_path, played):
    num = len(flat(played)["reward"])
    shape = (num, 2, width) if width else (num, 2)
    vault = as_vault(tmp_path / "Good", played, {name: marked(shape, value)})
    with pytest.raises(LabError) as caught:
        convert(vault, tmp_path / "out", task="cn-2", quality="good")
    assert str(caught.value) == (
        f"{vault}: key {name[:-1]!r} holds {np.float32(value)} at step 2, expected 0 or 1; "
        "mend it where the data were made"
    )


@pytest.mark.filterwarnings("error")
def test_rewards_that_differ_between_agents_are_averaged_and_it_is_said(tmp_path, played):
    steps = flat(played)
    rewards = steps["reward"][:, None] * np.array([1, 3], np.float32)
    won, num = int(steps["reward"].sum()), len(rewards)
    vault = as_vault(tmp_path / "Good", played, {"rewards.": rewards})
    arrays = as_arrays(tmp_path / "data", played)
    np.save(arrays / "rews_1.npy", 3 * np.load(arrays / "rews_1.npy"))
    for source in (vault, arrays):
        (line,) = convert(source, tmp_path / "out", task="cn-2", quality="good")
        note = f"; rewards of the agents differ at {won} of {num} steps: their mean is taken"
        assert note in line
        found = hdf5_reader.read([Path(line.rpartition(": ")[2])], LAYOUT)
        assert found.reward.max() == 2
    same = as_arrays(tmp_path / "same", played)
    assert "rewards of" not in convert(same, tmp_path / "out", task="cn-2", quality="same")[0]


def test_a_missing_key_of_a_vault_is_named_with_those_that_are_there(tmp_path, played):
    vault = as_vault(tmp_path / "Good", played, {"infos.legals.": None})
    with pytest.raises(LabError) as caught:
        convert(vault, tmp_path / "out", task="cn-2", quality="good")
    assert str(caught.value) == (
        f"{vault} has no key 'infos.legals', which a conversion needs; it has: actions, "
        "infos.state, observations, rewards, terminals, truncations, vault_index"
    )


def as_arrays(folder: Path, episodes: Episodes) -> Path:
    steps = flat(episodes)
    folder.mkdir()
    done = steps["terminated"] | steps["truncated"]
    for i in range(2):
        np.save(folder / f"obs_{i}.npy", steps["obs"][:, i])
        np.save(folder / f"acs_{i}.npy", np.eye(5, dtype=np.float32)[steps["actions"][:, i]])
        np.save(folder / f"rews_{i}.npy", steps["reward"])
        np.save(folder / f"dones_{i}.npy", done.astype(np.float32))
        np.save(folder / f"states_{i}.npy", steps["state"])
    return folder


def test_a_folder_of_arrays_is_read(tmp_path, played):
    """Their only flag is `dones`: an end before the limit is one of the task."""
    found = converted(tmp_path, as_arrays(tmp_path / "seed_0_data", played))
    assert found.lengths.tolist() == played.lengths.tolist()
    assert found.terminated.any(1).all()
    for row, length in enumerate(found.lengths):
        same = found.actions[row, : length - 1] == played.actions[row, : length - 1]
        assert same.all()


def add_following(folder: Path, episodes: Episodes) -> None:
    """What was seen after each step."""
    moves = episodes.filled[:, 1:]
    np.save(folder / "next_states_0.npy", episodes.state[:, 1:][moves])
    for i in range(2):
        np.save(folder / f"next_obs_{i}.npy", episodes.obs[:, 1:, i][moves])


def add_masks(folder: Path, episodes: Episodes) -> None:
    """Those of each step."""
    for i in range(2):
        np.save(folder / f"avail_actions_{i}.npy", flat(episodes)["avail_actions"][:, i])


NO_MASKS = "; masks are not kept: every action counts as allowed"


def test_arrays_without_masks_allow_every_action_and_it_is_said(tmp_path, played):
    source = as_arrays(tmp_path / "data", played)
    (line,) = convert(source, tmp_path / "out", task="cn-2", quality="good")
    assert NO_MASKS in line
    found = hdf5_reader.read([Path(line.rpartition(": ")[2])], LAYOUT)
    assert found.avail_actions[found.filled].all()


def test_masks_of_arrays_are_kept(tmp_path, played):
    source = as_arrays(tmp_path / "data", played)
    add_masks(source, played)
    (line,) = convert(source, tmp_path / "out", task="cn-2", quality="good")
    assert NO_MASKS not in line
    found = hdf5_reader.read([Path(line.rpartition(": ")[2])], LAYOUT)
    moves = played.filled[:, 1:]
    frames = found.avail_actions.shape[1] - 1
    kept = found.avail_actions[:, :-1][moves[:, :frames]]
    assert (kept == flat(played)["avail_actions"]).all()
    assert not kept.all()


def test_next_observations_without_their_masks_are_passed_over_and_it_is_said(tmp_path, played):
    source = as_arrays(tmp_path / "data", played)
    add_masks(source, played)
    said = "; next_obs is not used: masks are kept, but not those of the steps after"
    assert said not in convert(source, tmp_path / "out", task="cn-2", quality="plain")[0]
    add_following(source, played)
    assert said in convert(source, tmp_path / "out", task="cn-2", quality="good")[0]


def test_masks_of_arrays_are_0_or_1_of_every_agent_and_action(tmp_path, played, monkeypatch):
    source = as_arrays(tmp_path / "data", played)
    add_masks(source, played)
    masks = np.load(source / "avail_actions_1.npy").astype(np.float32)

    def refusal(values: np.ndarray) -> str:
        np.save(source / "avail_actions_1.npy", values)
        with pytest.raises(LabError) as caught:
            convert(source, tmp_path / "out", task="cn-2", quality="good")
        return str(caught.value)

    file = source / "avail_actions_1.npy"
    half = masks.copy()
    half[-1, 2] = 0.5
    one = hdf5_reader.empty(LAYOUT, 1, LAYOUT.episode_limit + 1).nbytes
    monkeypatch.setattr(converting, "PART_BYTES", 2 * one)
    said = f"{file} holds 0.5 at step {len(masks) - 1}, expected 0 or 1; mend it where the data wer"
    assert refusal(half).startswith(said)
    assert refusal(masks[:, :4]) == (
        f"{file} has (4,) numbers a step, task cn-2 has a mask of 5; name the task that the folder "
        "is of"
    )
    assert refusal(masks[:-1]).startswith(f"{file} has {len(masks) - 1} steps, ")
    (source / "avail_actions_0.npy").unlink()
    assert refusal(masks).startswith(f"{source} has no avail_actions_0.npy; it has: ")


def test_tasks_that_forbid_no_action_need_no_masks():
    names = ("cn-2", "battle-3m", "3m", "spread-2", "tag-2v1", "halfcheetah-2x3")
    forbids = [environments.has_masks(environments.layout_of(name)) for name in names]
    assert forbids == [True, True, True, False, False, False]


def test_the_frame_after_a_cut_is_kept_with_its_own_mask_or_not_at_all(tmp_path):
    """Each step's mask allows one action, that of the frame's number, by turns."""
    long = cut_everywhere(2, LAYOUT.episode_limit)
    frames = np.arange(LAYOUT.episode_limit + 1)
    long.avail_actions[:] = np.eye(5, dtype=bool)[frames % 5][None, :, None]
    long.actions[:] = (frames % 5)[None, :, None]
    source = as_arrays(tmp_path / "data", long)
    add_masks(source, long)
    add_following(source, long)
    (line,) = convert(source, tmp_path / "short", task="cn-2", quality="good")
    assert "; the last transition of 2 episodes that were cut off is left out" in line
    for i in range(2):
        following = long.avail_actions[:, 1:, i].reshape(-1, 5)
        np.save(source / f"next_avail_actions_{i}.npy", following)
    found = converted(tmp_path, source)
    assert found.lengths.tolist() == [LAYOUT.episode_limit + 1] * 2
    assert (found.avail_actions == long.avail_actions).all()


def cut_everywhere(num: int, length: int) -> Episodes:
    """Episodes of so many steps in which nothing happens; their observations count the frames."""
    episodes = hdf5_reader.empty(LAYOUT, num, length + 1)
    episodes.filled[:] = episodes.avail_actions[:] = True
    episodes.truncated[:, length - 1] = True
    episodes.obs[:] = np.arange(length + 1)[None, :, None, None]
    return episodes


def test_next_observations_keep_the_last_transition(tmp_path, played):
    long = cut_everywhere(2, LAYOUT.episode_limit)
    source = as_arrays(tmp_path / "data", long)
    (line,) = convert(source, tmp_path / "out", task="cn-2", quality="short")
    note = "; the last transition of 2 episodes that were cut off is left out: what followed it is "
    assert note in line
    add_following(source, long)
    found = converted(tmp_path, source)
    assert found.lengths.tolist() == [LAYOUT.episode_limit + 1] * 2
    assert found.obs[1, :, 0, 0].tolist() == list(range(LAYOUT.episode_limit + 1))
    assert np.flatnonzero(found.truncated[0]).tolist() == [LAYOUT.episode_limit - 1]
    ended = as_arrays(tmp_path / "ended", played)
    add_following(ended, played)
    found = converted(tmp_path, ended)
    for name in ("obs", "state"):
        assert (getattr(found, name) == getattr(played, name)[:, : found.obs.shape[1]]).all(), name


def test_ends_that_no_file_marks_are_told_by_a_length(tmp_path):
    source = as_arrays(tmp_path / "data", cut_everywhere(10, 6))

    def refusal(length: int) -> str:
        with pytest.raises(LabError) as caught:
            convert(source, tmp_path / "a", task="cn-2", quality="a", episode_length=length)
        return str(caught.value)

    assert refusal(5).startswith(f"{source}/dones_0.npy ends an episode at step 5, --episode-leng")
    for i in range(2):
        np.save(source / f"dones_{i}.npy", np.zeros(60))
    assert refusal(0) == (
        f"{source}/dones_0.npy is 0 at each of 60 steps; say how many steps every episode has: "
        "--episode-length N (task cn-2: at most 50)"
    )
    assert refusal(7).startswith(f"{source}/obs_0.npy has 60 steps, which is no multiple of --epi")
    (line,) = convert(source, tmp_path / "out", task="cn-2", quality="good", episode_length=6)
    found = hdf5_reader.read([Path(line.rpartition(": ")[2])], LAYOUT)
    assert found.lengths.tolist() == [6] * 10
    assert found.truncated[:, 4].all()


def test_a_length_of_episodes_is_for_arrays_alone(tmp_path, played):
    file = tmp_path / "part_0.pkl"
    file.write_bytes(pickle.dumps(published(played)))
    with pytest.raises(LabError, match="says where its episodes end; leave out --episode-length"):
        convert(file, tmp_path / "out", task="cn-2", quality="good", episode_length=5)


def test_a_missing_state_says_what_to_save(tmp_path, played):
    source = as_arrays(tmp_path / "data", played)
    (source / "states_0.npy").unlink()
    with pytest.raises(LabError) as caught:
        convert(source, tmp_path / "out", task="cn-2", quality="good")
    assert str(caught.value) == (
        f"{source} has no states_0.npy; save the task's state of each step there, 8 numbers as "
        "lab_marl.environments.make('cn-2', 1) shows them"
    )


@pytest.mark.parametrize("form", [as_vault, as_arrays])
def test_a_source_larger_than_a_part_becomes_several_parts_of_the_same_episodes(
    form, tmp_path, played, monkeypatch
):
    source = form(tmp_path / "Good", played)
    (whole,) = convert(source, tmp_path / "whole", task="cn-2", quality="good")
    one = hdf5_reader.empty(LAYOUT, 1, LAYOUT.episode_limit + 1).nbytes
    monkeypatch.setattr(converting, "PART_BYTES", 2 * one)
    lines = convert(source, tmp_path / "parts", task="cn-2", quality="good")
    assert len(lines) == 3
    files = [[Path(line.rpartition(": ")[2]) for line in said] for said in ([whole], lines)]
    expected, got = (hdf5_reader.read(paths, LAYOUT) for paths in files)
    for (name, values), (_, theirs) in zip(expected.arrays(), got.arrays(), strict=True):
        assert (values == theirs).all(), name


def test_a_fault_in_a_later_part_is_named_by_where_the_part_begins(tmp_path, played, monkeypatch):
    source = as_arrays(tmp_path / "data", played)
    state = np.load(source / "states_0.npy")
    state[-1] = np.nan
    np.save(source / "states_0.npy", state)
    one = hdf5_reader.empty(LAYOUT, 1, LAYOUT.episode_limit + 1).nbytes
    monkeypatch.setattr(converting, "PART_BYTES", 2 * one)
    with pytest.raises(LabError) as caught:
        convert(source, tmp_path / "new" / "out", task="cn-2", quality="good")
    assert str(caught.value).startswith(f"{source} from episode 4 on: state is NaN or infinite: ")
    assert not (tmp_path / "new").exists()


def test_a_source_without_a_whole_transition_is_refused(tmp_path):
    nothing = hdf5_reader.empty(LAYOUT, 1, 3)
    nothing.filled[0, :2] = True
    with pytest.raises(LabError, match="no episode of a whole transition; nothing to convert"):
        convert(as_arrays(tmp_path / "data", nothing), tmp_path / "out", task="cn-2", quality="a")


def test_an_array_episode_that_ends_at_the_limit_was_cut_off(tmp_path):
    num = LAYOUT.episode_limit
    long = hdf5_reader.empty(LAYOUT, 1, num + 1)
    long.filled[:] = True
    long.avail_actions[:] = True
    long.truncated[0, num - 1] = True
    found = converted(tmp_path, as_arrays(tmp_path / "data", long))
    assert found.lengths.tolist() == [num]
    assert np.flatnonzero(found.truncated[0]).tolist() == [num - 2]


def test_arrays_that_are_missing_short_or_hold_objects_are_refused(tmp_path, played):
    folder = as_arrays(tmp_path / "data", played)

    def refusal() -> str:
        with pytest.raises(LabError) as caught:
            convert(folder, tmp_path / "out", task="cn-2", quality="good")
        return str(caught.value)

    np.save(folder / "rews_1.npy", np.zeros(3))
    assert refusal().startswith(f"{folder}/rews_1.npy has 3 steps, {folder}/obs_0.npy has ")
    np.save(folder / "rews_1.npy", np.array([{}] * 3), allow_pickle=True)
    assert refusal().startswith(f"{folder}/rews_1.npy cannot be read as an array of numbers: ")
    (folder / "acs_1.npy").unlink()
    assert refusal().startswith(f"{folder} has no acs_1.npy; it has: acs_0.npy, ")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rews_1", b"", "rews_1.npy cannot be read as an array of numbers: No data left"),
        ("rews_1", np.float32(1), "rews_1.npy holds no array of numbers with an axis of steps"),
        ("obs_1", 1, "do not fit each other or task cn-2: all input arrays must"),
        ("dones_0", 2, "do not fit each other or task cn-2: cannot reshape"),
    ],
)
def test_arrays_of_a_wrong_form_are_refused_in_one_line(name, content, said, tmp_path, played):
    folder = as_arrays(tmp_path / "data", played)
    file = folder / f"{name}.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        num = len(np.load(folder / "obs_0.npy"))
        np.save(file, np.zeros((num, content)) if isinstance(content, int) else content)
    with pytest.raises(LabError) as caught:
        convert(folder, tmp_path / "out", task="cn-2", quality="good")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def nan(values: np.ndarray) -> None:
    values[3] = np.nan


def none_chosen(values: np.ndarray) -> None:
    values[3] = 0


def soft(values: np.ndarray) -> None:
    values *= 0.6


def other_end(values: np.ndarray) -> None:
    values[:] = 0


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("acs_0", nan, "acs_0.npy holds nan at step 3, expected 0 or 1; mend it where the data"),
        ("acs_1", none_chosen, "acs_1.npy has not exactly one 1 at step 3; mend it where the data"),
        ("acs_0", soft, "acs_0.npy holds 0.6000000238418579 at step 0, expected 0 or 1"),
        ("dones_0", nan, "dones_0.npy holds nan at step 3, expected 0 or 1"),
        ("dones_1", soft, "dones_1.npy holds 0.6000000238418579 at step "),
        ("dones_1", other_end, "dones_0.npy holds 1.0; an episode ends for all agents at once"),
    ],
)
def test_array_values_that_cannot_be_are_refused_by_file_and_step(
    name, change, said, tmp_path, played
):
    folder = as_arrays(tmp_path / "data", played)
    values = np.load(folder / f"{name}.npy")
    change(values)
    np.save(folder / f"{name}.npy", values)
    with pytest.raises(LabError) as caught:
        convert(folder, tmp_path / "out", task="cn-2", quality="good")
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{folder}/{name}.npy")
    assert "\n" not in str(caught.value)


def test_a_fault_of_an_array_is_named_by_its_step_in_the_whole_file(tmp_path, played, monkeypatch):
    folder = as_arrays(tmp_path / "data", played)
    values = np.load(folder / "acs_0.npy")
    values[-1] = 0
    np.save(folder / "acs_0.npy", values)
    one = hdf5_reader.empty(LAYOUT, 1, LAYOUT.episode_limit + 1).nbytes
    monkeypatch.setattr(converting, "PART_BYTES", 2 * one)
    with pytest.raises(LabError, match=f"exactly one 1 at step {len(values) - 1}; mend"):
        convert(folder, tmp_path / "out", task="cn-2", quality="good")


def test_arrays_of_another_number_of_agents_or_actions_are_refused(tmp_path, played):
    folder = as_arrays(tmp_path / "data", played)
    (folder / "obs_2.npy").write_bytes((folder / "obs_0.npy").read_bytes())
    with pytest.raises(LabError, match=r"obs_2.npy: task cn-2 has 2 agents, 0 to 1; name the tas"):
        convert(folder, tmp_path / "out", task="cn-2", quality="good")
    (folder / "obs_2.npy").unlink()
    np.save(folder / "acs_0.npy", np.load(folder / "acs_0.npy")[:, :4])
    with pytest.raises(LabError, match=r"acs_0.npy has \(4,\) numbers a step, task cn-2 has 1 "):
        convert(folder, tmp_path / "out", task="cn-2", quality="good")


def test_array_actions_may_be_the_numbers_of_the_actions(tmp_path, played):
    folder = as_arrays(tmp_path / "data", played)
    expected = converted(tmp_path, folder).actions
    for i in range(2):
        np.save(folder / f"acs_{i}.npy", np.load(folder / f"acs_{i}.npy").argmax(1)[:, None])
    (line,) = convert(folder, tmp_path / "numbers", task="cn-2", quality="good")
    found = hdf5_reader.read([Path(line.rpartition(": ")[2])], LAYOUT)
    assert (found.actions == expected).all()


def published(episodes: Episodes) -> dict[str, np.ndarray]:
    arrays = {k: v[..., None] if v.ndim == 2 else v for k, v in episodes.arrays()}
    return arrays | {"actions": episodes.actions[..., None]}


def test_pickled_arrays_are_read(tmp_path, played):
    folder = tmp_path / "run"
    folder.mkdir()
    for protocol in (2, 5):
        (folder / "part_0.pkl").write_bytes(pickle.dumps(published(played), protocol=protocol))
        (line,) = convert(folder, tmp_path / str(protocol), task="cn-2", quality="good")
        found = hdf5_reader.read([Path(line.rpartition(": ")[2])], LAYOUT)
        for name, values in found.arrays():
            assert (values == getattr(played, name)[:, : values.shape[1]]).all(), name


def without_flags(episodes: Episodes) -> dict[str, np.ndarray]:
    """Data that don't say where an episode was cut off."""
    ended = episodes.take(np.flatnonzero(~episodes.truncated.any(1)))
    return {key: values for key, values in published(ended).items() if key != "truncated"}


def test_a_source_that_marks_no_cuts_becomes_a_file_that_marks_none(tmp_path, played):
    """A run then tells them by length and reward, as it does of the source."""
    file = tmp_path / "part_0.pkl"
    file.write_bytes(pickle.dumps(without_flags(played)))
    (line,) = convert(file, tmp_path / "out", task="cn-2", quality="good")
    (part,) = hdf5_files.probe([Path(line.rpartition(": ")[2])], LAYOUT)
    assert (part.num_episodes, part.has_truncated) == (5, False)
    assert show(tmp_path / "out").rows[0]["cut off"] == "-"
    file.write_bytes(pickle.dumps(published(played)))
    (line,) = convert(file, tmp_path / "out", task="cn-2", quality="flagged")
    (part,) = hdf5_files.probe([Path(line.rpartition(": ")[2])], LAYOUT)
    assert (part.num_episodes, part.has_truncated) == (6, True)


def test_parts_of_which_only_some_mark_cuts_are_refused(tmp_path, played):
    source = tmp_path / "run"
    source.mkdir()
    (source / "part_0.pkl").write_bytes(pickle.dumps(published(played)))
    (source / "part_1.pkl").write_bytes(pickle.dumps(without_flags(played)))
    with pytest.raises(LabError) as caught:
        convert(source, tmp_path / "out", task="cn-2", quality="good")
    assert str(caught.value) == (
        f"{source}/part_1.pkl: no key 'truncated', which {source}/part_0.pkl has; write it in "
        "both, or convert them into two qualities"
    )
    assert not (tmp_path / "out").exists()


def test_pickles_are_read_in_the_order_of_their_numbers(tmp_path, played):
    source = tmp_path / "run"
    source.mkdir()
    for place, number in enumerate((0, 2, 10)):
        one = published(played.take(np.array([place])))
        (source / f"part_{number}.pkl").write_bytes(pickle.dumps(one))
    lines = convert(source, tmp_path / "out", task="cn-2", quality="good")
    files = [Path(line.rpartition(": ")[2]) for line in lines]
    assert [file.name for file in files] == ["part_0.h5", "part_1.h5", "part_2.h5"]
    assert hdf5_reader.read(files, LAYOUT).lengths.tolist() == played.lengths[:3].tolist()


def test_a_key_without_an_axis_is_refused_by_the_sources_name(tmp_path, played):
    file = tmp_path / "part_0.pkl"
    for key in ("filled", "reward"):
        file.write_bytes(pickle.dumps(published(played) | {key: np.array(1.0)}))
        with pytest.raises(LabError) as caught:
            convert(file, tmp_path / "out", task="cn-2", quality="good")
        assert str(caught.value) == (
            f"{file}: {key} has 0 axes (), expected 3: episodes, frames, numbers"
        )


class Command:
    """A pickle that would run a command."""

    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Command(), "part_0.pkl is not read: it asks for posix.system; only a dict of NumPy arr"),
        ({"obs": Command()}, "part_0.pkl is not read: it asks for posix.system; only a dict of "),
        ([1, 2], "part_0.pkl holds a list, expected a dict of arrays by key"),
        ({"obs": [1]}, "part_0.pkl: obs holds a list, expected a NumPy array"),
        ({"obs": np.array([{}])}, "part_0.pkl: obs holds Python objects, expected numbers; where"),
        ({"obs": np.array(["a"])}, "part_0.pkl: obs holds the type U1, expected real numbers"),
        ({"a\nb": 1}, "part_0.pkl: a\\nb holds a int, expected a NumPy array"),
        ({"obs": np.zeros(2)}, "part_0.pkl: obs has 1 axes (2,), expected 4"),
    ],
)
def test_pickles_of_anything_else_are_refused_and_run_nothing(
    content, expected, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "part_0.pkl"
    file.write_bytes(pickle.dumps(content))
    with pytest.raises(LabError) as caught:
        convert(file, tmp_path / "out", task="cn-2", quality="good")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["part_0.pkl"]


def test_content_that_cannot_be_is_refused_by_the_sources_name(tmp_path, played):
    arrays = published(played)
    arrays["obs"] = arrays["obs"].copy()
    arrays["obs"][1, 0, 0, 0] = np.nan
    file = tmp_path / "part_0.pkl"
    file.write_bytes(pickle.dumps(arrays))
    with pytest.raises(LabError) as caught:
        convert(file, tmp_path / "out", task="cn-2", quality="good")
    assert str(caught.value).startswith(f"{file}: obs is NaN or infinite: episode 1, frame 0")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_kept(tmp_path, played):
    file = tmp_path / "part_0.pkl"
    file.write_bytes(pickle.dumps(published(played)))
    convert(file, tmp_path / "out", task="cn-2", quality="good")
    with pytest.raises(LabError, match="is there already; name another target or quality"):
        convert(file, tmp_path / "out", task="cn-2", quality="good")
    with pytest.raises(LabError, match="nothing to convert"):
        convert(tmp_path / "out", tmp_path / "more", task="cn-2", quality="good")


ON_A_FULL_DISK = """
import os, resource, sys
from pathlib import Path
from lab_marl.datasets.converting import convert
from labrun.errors import LabError

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    convert(Path(sys.argv[1]), Path(sys.argv[2]), task="cn-2", quality="good")
except LabError as error:
    print(error)
"""


def test_a_conversion_that_fails_leaves_nothing_and_one_that_is_killed_no_data(tmp_path, played):
    file = tmp_path / "part_0.pkl"
    file.write_bytes(pickle.dumps(published(played)))
    words = [sys.executable, "-c", ON_A_FULL_DISK, str(file), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True)
    said = done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert "make room, or name another target" in said
    assert said.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*"))
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "cn-2").write_text("no folder")
    with pytest.raises(LabError, match="cannot write"):
        convert(file, tmp_path / "out", task="cn-2", quality="good")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["cn-2"]
    (tmp_path / "out" / "cn-2").unlink()
    (tmp_path / "out" / ".converting-a").mkdir()
    (tmp_path / "out" / ".converting-a" / "part_0.h5").write_text("half")
    convert(file, tmp_path / "out", task="cn-2", quality="good")
    assert len(show(tmp_path / "out").rows) == 1
    assert show(tmp_path / "out").faults == []


@pytest.mark.parametrize("quality", ["../up", "", "..", "a/b"])
def test_a_quality_is_the_name_of_one_folder(quality, tmp_path, played):
    file = tmp_path / "part_0.pkl"
    file.write_bytes(pickle.dumps(published(played)))
    with pytest.raises(LabError, match="is no name of a folder"):
        convert(file, tmp_path / "out", task="cn-2", quality=quality)


def test_a_source_named_by_its_parent_gets_its_own_name(tmp_path, played):
    as_arrays(tmp_path / "seed_0_data", played)
    (tmp_path / "seed_0_data" / "inner").mkdir()
    source = tmp_path / "seed_0_data" / "inner" / ".."
    (line,) = convert(source, tmp_path / "out", task="cn-2", quality="good")
    assert line.endswith(f"{tmp_path}/out/cn-2/good/seed_0_data/part_0.h5")


def test_what_a_folder_holds_is_shown_with_its_faults(tmp_path, played):
    file = tmp_path / "part_0.pkl"
    file.write_bytes(pickle.dumps(published(played)))
    convert(file, tmp_path / "out", task="cn-2", quality="good")
    broken = tmp_path / "out" / "cn-2" / "bad" / "run"
    broken.mkdir(parents=True)
    (broken / "part_0.h5").write_text("no data")
    bad, good = show(tmp_path).rows
    assert good == {
        "task": "cn-2",
        "quality": "good",
        "run": "part_0",
        "file": "part_0.h5",
        "episodes": "6",
        "length": f"{(played.lengths - 1).mean():.1f}",
        "return": f"{played.returns.mean():.2f}",
        "won": f"{played.returns.mean():.3f}",
        "cut off": str(played.truncated.any(1).sum()),
    }
    assert list(bad) == ["task", "quality", "run", "file"]
    assert show(tmp_path).faults == [
        f"{broken}/part_0.h5 cannot be read as HDF5 (file signature not found); copy the file "
        "again, or make the data again"
    ]
    assert show(tmp_path).notes == [
        f"{tmp_path} is a folder of pickles (ODIS): lab data convert {tmp_path} TARGET --task NAME",
    ]


def test_files_that_a_run_does_not_read_together_are_a_fault(tmp_path, played):
    folder = tmp_path / "cn-2" / "good" / "run"
    folder.mkdir(parents=True)
    ended = played.take(np.flatnonzero(~played.truncated.any(1)))
    for number in range(2):
        hdf5_writer.write(folder / f"part_{number}.h5", ended, LAYOUT, attributes={})
    assert show(tmp_path).faults == []
    with h5py.File(folder / "part_1.h5", "r+") as stored:
        del stored["truncated"]
    report = show(tmp_path)
    assert [row["episodes"] for row in report.rows] == ["5", "5"]
    (fault,) = report.faults
    assert fault.startswith(f"{folder}/part_1.h5: no key 'truncated', which {folder}/part_0.h5 has")


def test_equal_names_in_several_folders_are_told_apart(tmp_path, played):
    for name in ("mine", "yours"):
        folder = tmp_path / name / "cn-2" / "good" / "run"
        folder.mkdir(parents=True)
        hdf5_writer.write(folder / "part_0.h5", played, LAYOUT, attributes={})
    assert [row["folder"] for row in show(tmp_path).rows] == ["mine", "yours"]
    assert "folder" not in show(tmp_path / "mine").rows[0]


def test_battles_are_won_by_their_last_reward():
    layout = environments.layout_of("battle-3m")
    made = hdf5_reader.empty(layout, 2, 4)
    made.filled[:, :3] = True
    made.reward[:, 1] = (11.0, 9.0)  # a victory is worth 200 * 20 / 365 = 10.96
    assert environments.won(layout, made).tolist() == [True, False]
    assert environments.won(environments.layout_of("3m"), made).tolist() == [True, False]
    assert environments.won(environments.layout_of("spread-2"), made) is None


def test_damage_inside_a_file_is_a_fault_in_one_line(tmp_path, played):
    run = tmp_path / "cn-2" / "good" / "run"
    run.mkdir(parents=True)
    file = run / "part_0.h5"
    hdf5_writer.write(file, played, LAYOUT, attributes={})
    whole = bytearray(file.read_bytes())
    for name in (b"HEAP", b"TREE", b"SNOD"):
        damaged = whole.copy()
        place = damaged.index(name)
        damaged[place : place + 24] = b"\xff" * 24
        file.write_bytes(damaged)
        report = show(tmp_path)
        assert list(report.rows[0]) == ["task", "quality", "run", "file"]
        (fault,) = report.faults
        assert fault.startswith(f"{file}")
        assert "\n" not in fault
