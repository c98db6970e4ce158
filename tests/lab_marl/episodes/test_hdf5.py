"""The published HDF5 layout: what is read, what is refused, what is written."""

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from lab_marl import environments
from lab_marl.episodes import hdf5_reader, hdf5_writer
from lab_marl.episodes.episodes import Episodes
from lab_marl.episodes.hdf5_files import find_parts, probe
from lab_marl.episodes.hdf5_writer import write
from lab_marl.episodes.layouts import EntityBlock, Layout
from lab_marl.training.entity_features import check_ids
from labrun.errors import LabError

REAL = Path(__file__).parents[3] / "../shared/data/marl"

TOY = Layout(
    task="toy",
    family="toy",
    num_agents=2,
    num_enemies=1,
    num_non_attack=3,
    attacks=False,
    obs_size=3,
    state_size=2,
    own=((0, 1),),
    allies=EntityBlock(1, 1, 1),
    enemies=EntityBlock(2, 1, 1),
    state_allies=EntityBlock(0, 1, 1),
    state_enemies=EntityBlock(1, 1, 1),
    episode_limit=4,
)
ARM = dataclasses.replace(TOY, task="arm", num_enemies=2, continuous=True)


def toy() -> dict[str, np.ndarray]:
    """Three episodes of 1, 2 and 4 transitions; every entry of obs is its episode's number + 1.

    All actions are 1, only actions 1 and 2 are allowed, the last transition is rewarded and ends
    the episode.
    """
    transitions = np.array([1, 2, 4])
    frames = np.arange(5)
    filled = frames <= transitions[:, None]
    last = frames == transitions[:, None] - 1
    number = filled * np.array([[1], [2], [3]])
    avail = np.zeros((3, 5, 2, 3), np.int32)
    avail[..., 1:] = filled[:, :, None, None]
    return {
        "obs": np.broadcast_to(number[:, :, None, None], (3, 5, 2, 3)).astype(np.float32),
        "state": np.broadcast_to(number[:, :, None], (3, 5, 2)).astype(np.float32),
        "actions": filled[:, :, None, None].repeat(2, axis=2).astype(np.int64),
        "actions_onehot": np.zeros((3, 5, 2, 3), np.float32),
        "avail_actions": avail,
        "reward": last[..., None].astype(np.float32),
        "terminated": last[..., None].astype(np.uint8),
        "filled": filled[..., None].astype(np.int64),
    }


def store(path: Path, arrays: dict[str, np.ndarray], *, chunk: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as out:
        for name, values in arrays.items():
            chunks = (chunk, *values.shape[1:]) if chunk else None
            packed = "gzip" if chunk else None
            out.create_dataset(name, data=values, chunks=chunks, compression=packed)
    return path


def renumbered(start: int) -> dict[str, np.ndarray]:
    arrays = toy()
    arrays["obs"] = np.where(arrays["obs"] > 0, arrays["obs"] + start, 0).astype(np.float32)
    return arrays


def numbers(episodes) -> list[int]:
    """The numbers + 1 that `toy` wrote into the episodes."""
    return episodes.obs[:, 0, 0, 0].astype(int).tolist()


def test_runs_and_parts_are_read_in_the_order_of_their_names_and_numbers(tmp_path):
    for run, part, start in (("b", 2, 3), ("b", 10, 6), ("a", 0, 0)):
        store(tmp_path / run / f"part_{part}.h5", renumbered(start))
    (tmp_path / "a" / "notes.txt").write_text("no data")
    files = find_parts(tmp_path)
    assert [f"{f.parent.name}/{f.name}" for f in files] == [
        "a/part_0.h5",
        "b/part_2.h5",
        "b/part_10.h5",
    ]
    assert numbers(hdf5_reader.read(files, TOY)) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_every_key_is_read_as_episodes(tmp_path):
    episodes = hdf5_reader.read([store(tmp_path / "part_0.h5", toy())], TOY)
    assert episodes.obs.dtype == np.float32
    assert episodes.obs[1, :, 1, 2].tolist() == [2, 2, 2, 0, 0]
    assert episodes.state[2].tolist() == [[3, 3]] * 5
    assert episodes.actions.dtype == np.int64
    assert episodes.actions[0, :, 1].tolist() == [1, 1, 0, 0, 0]
    assert episodes.avail_actions.dtype == bool
    assert episodes.avail_actions[0, :2, 0].tolist() == [[False, True, True]] * 2
    assert episodes.returns.tolist() == [1, 1, 1]
    assert [np.flatnonzero(row).tolist() for row in episodes.terminated] == [[0], [1], [3]]
    assert not episodes.truncated.any()
    assert episodes.lengths.tolist() == [2, 3, 5]


def test_only_the_chosen_episodes_are_read_up_to_their_longest(tmp_path):
    files = [
        store(tmp_path / f"part_{part}.h5", renumbered(3 * part), chunk=2) for part in range(3)
    ]
    episodes = hdf5_reader.read(files, TOY, np.array([1, 3, 4, 7]))
    assert numbers(episodes) == [2, 4, 5, 8]
    assert episodes.obs.shape == (4, 3, 2, 3)
    assert numbers(hdf5_reader.read(files, TOY, np.array([8]))) == [9]


def test_what_lies_behind_an_end_is_set_to_zero(tmp_path):
    arrays = toy()
    arrays["obs"][0, 3] = np.nan
    arrays["avail_actions"][0, 4] = 1
    arrays["actions"][0, 4] = 7
    arrays["reward"][0, 2] = 5
    episodes = hdf5_reader.read([store(tmp_path / "part_0.h5", arrays)], TOY)
    assert not episodes.obs[0, 2:].any()
    assert not episodes.avail_actions[0, 2:].any()
    assert not episodes.actions[0, 2:].any()
    assert episodes.returns[0] == 1


def test_the_last_frame_may_hold_any_action(tmp_path):
    arrays = toy()
    arrays["actions"][1, 2] = 0
    episodes = hdf5_reader.read([store(tmp_path / "part_0.h5", arrays)], TOY)
    assert not episodes.avail_actions[1, 2, 0, 0]
    assert episodes.actions[1, 2].tolist() == [0, 0]


def refusal(path: Path, layout: Layout = TOY) -> str:
    """What is wrong. The next step, which each refusal names at its end, is left out."""
    with pytest.raises(LabError) as caught:
        hdf5_reader.read([path], layout)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    fault, _, step = text.removeprefix(str(path)).rpartition("; ")
    assert step.split()[0] in {"mend", "copy", "make", "write", "put", "add", "cut"}
    return fault


def changed(key: str, place: tuple, value: float) -> dict[str, np.ndarray]:
    arrays = toy()
    arrays[key][place] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (changed("obs", (2, 1, 1, 2), np.nan), "obs is NaN or infinite: episode 2, frame 1, "),
        (changed("state", (1, 0, 1), np.inf), "state is NaN or infinite: episode 1, frame 0, "),
        (changed("reward", (1, 0), -np.inf), "reward is NaN or infinite: episode 1, frame 0"),
        (changed("actions", (1, 1, 0), 3), "actions leave the range 0 to 2: episode 1, frame 1, "),
        (changed("actions", (2, 4, 0), -1), "actions leave the range 0 to 2: episode 2, frame 4, "),
        (
            changed("actions", (2, 3, 1), 0),
            "actions holds an action that avail_actions forbids: episode 2, frame 3, position 1",
        ),
        (changed("filled", (2, 1), 0), "filled begins again after it ended: episode 2, frame 2"),
        (
            changed("filled", (0, 1), 0),
            "filled covers no transition; an episode of k transitions has k + 1 filled frames: "
            "episode 0, frame 0",
        ),
        (
            changed("filled", (1, 2), 0),
            "terminated is set elsewhere than one frame before the last filled: episode 1, frame 1",
        ),
        (
            toy() | {"truncated": changed("terminated", (2, 0), 1)["terminated"]},
            "truncated is set elsewhere than one frame before the last filled: episode 2, frame 0",
        ),
        (
            changed("reward", (1, 2), 1),
            "reward is not 0 at the last frame, which has no action: episode 1, frame 2",
        ),
        (
            changed("terminated", (1, 1), 0),
            "terminated is not set, though the episode ends before 4 steps: episode 1, frame 1",
        ),
    ],
)
def test_content_that_cannot_be_is_refused_with_its_place(arrays, expected, tmp_path):
    assert refusal(store(tmp_path / "part_0.h5", arrays)).startswith(f": {expected}")


def test_an_open_end_at_the_limit_is_no_fault(tmp_path):
    path = store(tmp_path / "part_0.h5", changed("terminated", (2, 3), 0))
    assert not hdf5_reader.read([path], TOY).terminated[2].any()


def test_places_are_numbered_as_in_the_file(tmp_path):
    path = store(tmp_path / "part_0.h5", changed("obs", (2, 1, 1, 2), np.nan))
    with pytest.raises(LabError, match="episode 2, frame 1"):
        hdf5_reader.read([path], TOY, np.array([0, 2]))
    assert numbers(hdf5_reader.read([path], TOY, np.array([0, 1]))) == [1, 2]


def retyped(key: str, dtype: npt.DTypeLike) -> dict[str, np.ndarray]:
    arrays = toy()
    return arrays | {key: arrays[key].astype(dtype)}


def mask(key: str, place: tuple, value: float) -> dict[str, np.ndarray]:
    """The toy data with floating-point masks, one entry of one of them changed."""
    arrays = toy() | {"truncated": np.zeros((3, 5, 1))}
    arrays[key] = arrays[key].astype(np.float64)
    arrays[key][place] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            mask("avail_actions", (2, 1, 1, 2), np.nan),
            "avail_actions holds nan, expected 0 or 1: episode 2, frame 1, position 1, 2",
        ),
        (
            changed("avail_actions", (1, 0, 0, 1), -1),
            "avail_actions holds -1, expected 0 or 1: episode 1, frame 0, position 0, 1",
        ),
        (mask("filled", (1, 2), 0.5), "filled holds 0.5, expected 0 or 1: episode 1, frame 2"),
        (changed("filled", (0, 4), 2), "filled holds 2, expected 0 or 1: episode 0, frame 4"),
        (changed("terminated", (2, 3), 2), "terminated holds 2, expected 0 or 1: episode 2, f"),
        (mask("truncated", (2, 3), 0.5), "truncated holds 0.5, expected 0 or 1: episode 2, fr"),
    ],
)
@pytest.mark.parametrize("chunk", [None, 2])
def test_masks_hold_only_0_and_1(arrays, expected, chunk, tmp_path):
    assert refusal(store(tmp_path / "part_0.h5", arrays, chunk=chunk)).startswith(f": {expected}")


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_masks_of_every_real_type_are_read_alike(dtype, tmp_path):
    keys = ("avail_actions", "terminated", "filled")
    arrays = toy() | {key: toy()[key].astype(dtype) for key in keys}
    read = hdf5_reader.read([store(tmp_path / "other.h5", arrays)], TOY)
    plain = hdf5_reader.read([store(tmp_path / "plain.h5", toy())], TOY)
    for key in keys:
        assert (getattr(read, key) == getattr(plain, key)).all(), key


def test_a_mask_may_hold_anything_behind_the_end(tmp_path):
    path = store(tmp_path / "part_0.h5", mask("avail_actions", (0, 2, 0, 1), np.nan))
    assert not hdf5_reader.read([path], TOY).avail_actions[0, 2:].any()


@pytest.mark.parametrize(
    ("episode", "frame", "agent"),
    [(2, 1, 1), (1, 1, 0), (0, 0, 0)],
    ids=["in the middle", "where the last transition begins", "at the first frame"],
)
def test_an_agent_without_an_allowed_action_is_refused(episode, frame, agent, tmp_path):
    path = store(tmp_path / "part_0.h5", changed("avail_actions", (episode, frame, agent), 0))
    place = f"episode {episode}, frame {frame}, agent {agent}"
    assert refusal(path) == f": avail_actions allows an agent no action: {place}"


def blocked(**flags: int) -> dict[str, np.ndarray]:
    """Episode 2, of full length, ends with these flags; its last frame allows no agent anything."""
    arrays = toy() | {"truncated": np.zeros((3, 5, 1), np.uint8)}
    arrays["avail_actions"][2, 4] = 0
    for key, value in flags.items():
        arrays[key][2, 3] = value
    return arrays


def test_the_last_frame_of_a_task_that_was_over_may_allow_no_action(tmp_path):
    arrays = toy()
    for episode, frame in enumerate((1, 2, 4)):
        arrays["avail_actions"][episode, frame] = 0
    episodes = hdf5_reader.read([store(tmp_path / "part_0.h5", arrays)], TOY)
    assert not episodes.avail_actions[np.arange(3), episodes.lengths - 1].any()
    assert episodes.terminated.any(1).all()
    flagged = hdf5_reader.read([store(tmp_path / "part_1.h5", blocked(terminated=1))], TOY)
    assert not flagged.avail_actions[2, 4].any()


@pytest.mark.parametrize(
    "flags",
    [
        {"terminated": 0, "truncated": 1},
        {"terminated": 1, "truncated": 1},
        {"terminated": 0, "truncated": 0},
    ],
    ids=str,
)
def test_the_last_frame_of_an_episode_that_was_cut_off_must_allow_an_action(flags, tmp_path):
    place = "episode 2, frame 4, agent 0"
    path = store(tmp_path / "part_0.h5", blocked(**flags))
    assert refusal(path) == f": avail_actions allows an agent no action: {place}"


def test_a_short_episode_needs_one_of_the_flags(tmp_path):
    arrays = toy() | {"truncated": np.zeros((3, 5, 1), np.uint8)}
    arrays["terminated"][1, 1] = 0
    text = ": terminated is not set, though the episode ends before 4 steps: episode 1, frame 1"
    assert refusal(store(tmp_path / "part_0.h5", arrays)) == text
    arrays["truncated"][1, 1] = 1
    episodes = hdf5_reader.read([store(tmp_path / "part_1.h5", arrays)], TOY)
    assert episodes.truncated.any(1).tolist() == [False, True, False]


@pytest.mark.parametrize("key", ["terminated", "truncated"])
def test_a_flag_on_the_last_frame_is_a_frame_too_late(key, tmp_path):
    arrays = toy() | {"truncated": np.zeros((3, 5, 1), np.uint8)}
    arrays["terminated"][2, 3] = 0
    arrays[key][2, 4] = 1
    text = f": {key} is set elsewhere than one frame before the last filled: episode 2, frame 4"
    assert refusal(store(tmp_path / "part_0.h5", arrays)) == text


def without(key: str) -> dict[str, np.ndarray]:
    return {name: values for name, values in toy().items() if name != key}


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            without("filled"),
            " has no key 'filled'; it has: actions, actions_onehot, avail_actions, obs, reward, "
            "state, terminated",
        ),
        (toy() | {"state": np.zeros((3, 5))}, ": state has 2 axes (3, 5), expected 3"),
        (toy() | {"reward": np.zeros((2, 5, 1))}, ": reward has 2 episodes, obs has 3"),
        (toy() | {"state": np.zeros((3, 4, 2))}, ": state has 4 frames, obs has 5"),
        (toy() | {"obs": np.zeros((3, 5, 2, 4))}, ": obs has 4 numbers, task toy has 3"),
        (toy() | {"obs": np.zeros((3, 5, 3, 3))}, ": obs has 3 agents, task toy has 2"),
        (toy() | {"avail_actions": np.zeros((3, 5, 2, 9))}, ": avail_actions has 9 numbers, "),
        (toy() | {"truncated": np.zeros(3)}, ": truncated has 1 axes (3,), expected 3"),
        (
            {name: values[:0] for name, values in toy().items()},
            ": obs has 0 episodes; delete the file, or make the data again",
        ),
        (retyped("actions", bool), ": actions holds bool, expected whole numbers"),
        (
            without("actions") | {"actions_onehot": np.zeros((3, 5, 2, 4))},
            ": actions_onehot has 4 numbers, task toy has 3",
        ),
        (retyped("obs", "S4"), ": obs holds |S4, expected real numbers"),
        (retyped("state", complex), ": state holds complex128, expected real numbers"),
        (retyped("reward", "S4"), ": reward holds |S4, expected real numbers"),
        (retyped("avail_actions", complex), ": avail_actions holds complex128, expected real "),
        (retyped("filled", "S1"), ": filled holds |S1, expected real numbers"),
        (retyped("terminated", "S1"), ": terminated holds |S1, expected real numbers"),
        (
            toy() | {"truncated": np.zeros((3, 5, 1), complex)},
            ": truncated holds complex128, expected real numbers",
        ),
        (
            {name: np.repeat(values, 2, axis=1) for name, values in toy().items()},
            ": obs has 10 frames, task toy has at most 5 (episode limit + 1)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused_before_an_episode_is_read(arrays, expected, tmp_path):
    path = store(tmp_path / "part_0.h5", arrays)
    with pytest.raises(LabError) as caught:
        probe([path], TOY)
    assert str(caught.value).startswith(f"{path}{expected}")


def test_parts_that_differ_are_refused(tmp_path):
    one = store(tmp_path / "part_0.h5", toy())
    flagged = store(tmp_path / "part_2.h5", toy() | {"truncated": np.zeros((3, 5, 1), np.uint8)})
    with pytest.raises(LabError, match=f"{one}: no key 'truncated', which {flagged} has"):
        probe([one, flagged], TOY)


def test_parts_may_be_padded_to_different_lengths(tmp_path):
    """The first two episodes need 3 frames."""
    short = {name: values[:2, :3] for name, values in renumbered(3).items()}
    one, other = store(tmp_path / "part_0.h5", short), store(tmp_path / "part_1.h5", toy())
    for order in ([one, other], [other, one]):
        episodes = hdf5_reader.read(order, TOY)
        assert sorted(zip(numbers(episodes), episodes.lengths.tolist(), strict=True)) == [
            (1, 2),
            (2, 3),
            (3, 5),
            (4, 2),
            (5, 3),
        ]
    assert hdf5_reader.read([one, other], TOY, np.array([0, 1])).obs.shape[1] == 3


def test_a_last_axis_of_one_may_be_missing(tmp_path):
    arrays = toy()
    for key in ("actions", "reward", "terminated", "filled"):
        arrays[key] = arrays[key][..., 0]
    same(
        hdf5_reader.read([store(tmp_path / "part_0.h5", arrays)], TOY),
        hdf5_reader.read([store(tmp_path / "part_1.h5", toy())], TOY),
    )


def same(one: Episodes, other: Episodes) -> None:
    for (name, values), (_, expected) in zip(one.arrays(), other.arrays(), strict=True):
        assert (values == expected).all(), name


def test_whole_numbers_of_a_floating_point_type_are_actions(tmp_path):
    arrays = toy() | {"actions": toy()["actions"].astype(np.float32)}
    arrays["actions"][0, 4] = np.nan  # behind the end
    same(
        hdf5_reader.read([store(tmp_path / "part_0.h5", arrays)], TOY),
        hdf5_reader.read([store(tmp_path / "part_1.h5", toy())], TOY),
    )
    arrays["actions"][2, 1, 1] = 1.5
    text = ": actions holds 1.5, expected whole numbers: episode 2, frame 1, position 1"
    assert refusal(store(tmp_path / "part_2.h5", arrays)) == text


def test_actions_are_read_from_their_onehot_form_where_that_is_all_there_is(tmp_path):
    arrays = without("actions")
    shown = np.zeros((3, 5, 2, 3), np.float32)
    shown[..., 1] = toy()["filled"]
    shown[2, 0, 1] = (0, 0, 1)
    shown[1, 2] = 0  # the last frame, which begins no transition
    episodes = hdf5_reader.read(
        [store(tmp_path / "part_0.h5", arrays | {"actions_onehot": shown}, chunk=2)], TOY
    )
    assert episodes.actions[2].tolist() == [[1, 2], [1, 1], [1, 1], [1, 1], [1, 1]]
    assert episodes.actions[1].tolist() == [[1, 1], [1, 1], [0, 0], [0, 0], [0, 0]]
    shown[1, 0, 0] = (0, 1, 1)
    text = ": actions_onehot has not exactly one 1 for an agent: episode 1, frame 0, agent 0"
    path = store(tmp_path / "part_1.h5", arrays | {"actions_onehot": shown})
    assert refusal(path) == text


def test_a_file_that_is_no_hdf5_or_cut_off_is_named(tmp_path):
    text = tmp_path / "part_0.h5"
    text.write_text("no data")
    assert refusal(text) == " cannot be read as HDF5 (file signature not found)"
    cut = store(tmp_path / "part_1.h5", toy())
    cut.write_bytes(cut.read_bytes()[:3000])
    assert refusal(cut).startswith(" cannot be read as HDF5 (truncated file: ")
    with pytest.raises(LabError, match=f"no file {tmp_path / 'part_2.h5'}"):
        hdf5_reader.read([tmp_path / "part_2.h5"], TOY)


def test_a_chunk_is_of_fewer_episodes_where_they_are_large(tmp_path, monkeypatch):
    episodes = hdf5_reader.read([store(tmp_path / "toy.h5", toy())], TOY)
    chunks = []
    for room in (2, 100, 0):
        monkeypatch.setattr(hdf5_writer, "CHUNK_BYTES", room * episodes.obs[:1].nbytes)
        write(tmp_path / "part_0.h5", episodes, TOY, attributes={})
        chunks.append(probe([tmp_path / "part_0.h5"], TOY)[0].chunk)
    assert chunks == [2, 3, 1]


def test_a_chunk_that_cannot_be_unpacked_is_named(tmp_path):
    path = store(tmp_path / "part_0.h5", toy(), chunk=3)
    with h5py.File(path) as stored:
        chunk = stored["obs"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    assert refusal(path) == " is damaged: obs cannot be unpacked"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("key", ["obs", "reward"])
def test_numbers_beyond_float32_are_named_and_those_behind_an_end_are_not_read(key, tmp_path):
    arrays = toy()
    arrays[key] = arrays[key].astype(np.float64)
    arrays[key][0, 4] = 1e300  # behind the end
    same(
        hdf5_reader.read([store(tmp_path / "part_0.h5", arrays)], TOY),
        hdf5_reader.read([store(tmp_path / "part_1.h5", toy())], TOY),
    )
    arrays[key][2, 1] = -1e39
    said = refusal(store(tmp_path / "part_2.h5", arrays))
    assert said.startswith(
        f": {key} holds -1e+39, float32 holds at most 3.4e+38: episode 2, frame 1"
    )


@pytest.mark.parametrize("key", ["obs", "truncated", "actions"])
@pytest.mark.parametrize("where", ["soft", "external"])
def test_a_link_to_nothing_is_named_as_such(key, where, tmp_path):
    path = store(tmp_path / "part_0.h5", toy())
    away = tmp_path / "away.h5"
    link = h5py.SoftLink("/there") if where == "soft" else h5py.ExternalLink(away, "/there")
    with h5py.File(path, "r+") as stored:
        stored.pop(key, None)
        stored[key] = link
    place = "/there" if where == "soft" else f"{away}, /there"
    assert refusal(path) == f": {key} is a link to {place}, which is not there"


def test_a_group_in_place_of_numbers_is_named(tmp_path):
    path = store(tmp_path / "part_0.h5", without("state"))
    with h5py.File(path, "r+") as stored:
        stored.create_group("state")
    assert refusal(path) == ": state is a group"


@pytest.mark.parametrize("key", ["obs", "truncated", "filled"])
def test_a_key_without_content_is_named(key, tmp_path):
    path = store(tmp_path / "part_0.h5", without(key) if key in toy() else toy())
    with h5py.File(path, "r+") as stored:
        stored[key] = h5py.Empty("f4")
    assert refusal(path) == f": {key} has no content"


def test_a_missing_folder_says_what_is_there(tmp_path):
    (tmp_path / "medium").mkdir()
    with pytest.raises(LabError) as caught:
        find_parts(tmp_path / "expert")
    assert str(caught.value) == (f"no {tmp_path}/expert/<run>/part_*.h5; {tmp_path} holds medium")


def test_written_episodes_are_read_back_as_they_were(tmp_path):
    source = store(tmp_path / "source.h5", toy())
    episodes = hdf5_reader.read([source], TOY)
    episodes.truncated[2, 3], episodes.terminated[2, 3] = True, False
    path = tmp_path / "part_0.h5"
    write(path, episodes, TOY, attributes={"seed": 7, "win_rate": 0.5})
    read = hdf5_reader.read([path], TOY)
    for (name, one), (_, other) in zip(episodes.arrays(), read.arrays(), strict=True):
        assert one.dtype == other.dtype, name
        assert (one == other).all(), name
    with h5py.File(path) as stored:
        assert dict(stored.attrs) == {
            "schema_version": 1,
            "seed": 7,
            "win_rate": 0.5,
            "layout": json.dumps(dataclasses.asdict(TOY), sort_keys=True),
        }
        obs, actions = stored["obs"], stored["actions"]
        assert isinstance(obs, h5py.Dataset)
        assert isinstance(actions, h5py.Dataset)
        assert obs.compression == "gzip"
        assert actions.shape == (3, 5, 2, 1)
        assert "actions_onehot" not in stored
    assert sorted(file.name for file in tmp_path.iterdir()) == ["part_0.h5", "source.h5"]


def test_equal_episodes_are_written_as_equal_bytes(tmp_path):
    episodes = hdf5_reader.read([store(tmp_path / "source.h5", toy())], TOY)
    one, other = tmp_path / "one.h5", tmp_path / "other.h5"
    for path in (one, other):
        write(path, episodes, TOY, attributes={})
    assert one.read_bytes() == other.read_bytes()


def test_continuous_actions_keep_their_numbers_and_their_range(tmp_path):
    arrays = toy()
    arrays["actions"] = np.full((3, 5, 2, 2), 0.5, np.float32)
    arrays["avail_actions"] = np.ones((3, 5, 2, 2), np.int32)
    path = store(tmp_path / "source.h5", arrays)
    episodes = hdf5_reader.read([path], ARM)
    assert episodes.actions[0, :, 0].tolist() == [[0.5, 0.5]] * 2 + [[0, 0]] * 3
    write(tmp_path / "part_0.h5", episodes, ARM, attributes={})
    assert (hdf5_reader.read([tmp_path / "part_0.h5"], ARM).actions == episodes.actions).all()
    arrays["actions"][2, 3, 1, 0] = -1.01
    expected = ": actions leave the range -1 to 1: episode 2, frame 3, position 1, 0"
    assert refusal(store(path, arrays), ARM) == expected


def test_a_continuous_task_needs_no_allowed_action(tmp_path):
    arrays = toy() | {"actions": np.zeros((3, 5, 2, 2), np.float32)}
    arrays["avail_actions"] = np.zeros((3, 5, 2, 2), np.int32)
    path = store(tmp_path / "part_0.h5", arrays)
    assert not hdf5_reader.read([path], ARM).avail_actions.any()


def test_a_file_of_another_layout_or_schema_is_refused(tmp_path):
    episodes = hdf5_reader.read([store(tmp_path / "source.h5", toy())], TOY)
    path = tmp_path / "part_0.h5"
    write(path, episodes, dataclasses.replace(TOY, num_enemies=2), attributes={})
    expected = " was written for num_enemies 2, task toy has 1"
    assert refusal(path) == expected
    with h5py.File(path, "r+") as stored:
        stored.attrs["schema_version"] = 2
    assert refusal(path) == " has schema_version 2; this version reads 1"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("layout", "{no", "holds '{no', expected a JSON object"),
        ("layout", "[1]", "holds '[1]', expected a JSON object"),
        ("layout", np.bytes_(b"\xff"), "holds np.bytes_(b'\\xff'), expected a JSON object"),
        ("layout", 7, "holds np.int64(7), expected a JSON object"),
        ("layout", "[" + 90 * "1,", "holds '[" + 29 * "1," + ", expected a JSON object"),
        ("schema_version", "one\ntwo", "holds 'one\\ntwo', expected the integer 1"),
        ("schema_version", [1, 1], "holds array([1, 1]), expected the integer 1"),
    ],
)
def test_a_damaged_attribute_is_named(name, value, expected, tmp_path):
    path = store(tmp_path / "part_0.h5", toy())
    with h5py.File(path, "r+") as stored:
        stored.attrs[name] = value
    assert refusal(path) == f": attribute {name!r} {expected}"


def test_an_attribute_that_cannot_be_unpacked_is_named(tmp_path):
    path = store(tmp_path / "part_0.h5", toy())
    with h5py.File(path, "r+") as stored:
        stored.attrs["layout"] = "{}"
    # Texts of any length lie in a heap of their own, which begins with these letters.
    path.write_bytes(path.read_bytes().replace(b"GCOL", b"LOST"))
    assert refusal(path) == " is damaged: attribute 'layout' cannot be read"


def test_as_many_agents_as_the_code_numbers():
    crowd = dataclasses.replace(TOY, num_agents=15)
    check_ids(crowd, 4)
    with pytest.raises(
        LabError, match="has 16 agents, id_bits=4 numbers at most 15; set id_bits=5"
    ):
        check_ids(dataclasses.replace(TOY, num_agents=16), 4)


@pytest.mark.skipif(not REAL.is_dir(), reason="the published samples are not here")
@pytest.mark.parametrize(
    ("task", "quality", "won", "frames"),
    [("cn-2", "expert", 1.0, 7), ("cn-2", "medium", 0.4385, 51), ("cn-4", "expert", 0.447, 51)],
)
def test_published_files_are_read(task, quality, won, frames):
    files = find_parts(REAL / task / quality)
    episodes = hdf5_reader.read(files, environments.layout_of(task))
    assert episodes.obs.shape[:2] == (2000, frames)
    assert episodes.returns.mean() == pytest.approx(won)
    assert (episodes.terminated.sum(1) == 1).all()
