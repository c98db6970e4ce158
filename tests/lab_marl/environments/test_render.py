"""Pictures, looked at pixel by pixel where their meaning lies."""

import numpy as np
import pytest
from lab_marl.environments import battle, grid, render
from labrun.errors import LabError
from PIL import Image, ImageSequence


def at_cell(picture: np.ndarray, row: int, column: int, *, down: int = 0) -> tuple[int, ...]:
    """Colour in the middle of a cell of the grid, or `down` pixels below it."""
    y = render.CAPTION + int((row + 0.5) * render.SQUARE) + down
    return tuple(int(value) for value in picture[y, int((column + 0.5) * render.SQUARE)])


def in_field(picture: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    """Colour at a place of a battle's field."""
    row, column = render.CAPTION + (9 - y) * render.CELL, (14 + x) * render.CELL
    return tuple(int(value) for value in picture[round(row), round(column)])


def test_the_grid_shows_agents_and_whether_a_landmark_is_in_reach():
    env = grid.make("cn-2", 2)
    agents, landmarks = [[0, 0], [5, 5]], [[2, 2], [1, 4]]
    env.place(np.array([[[3, 3], [4, 4]], agents]), np.array([landmarks, landmarks]))
    picture = render.frame(env, 1)
    assert picture.shape == (6 * render.SQUARE + render.CAPTION, 6 * render.SQUARE, 3)
    # Below the number.
    assert at_cell(picture, 0, 0, down=8) == render.TEAM
    assert at_cell(picture, 5, 5, down=8) == render.TEAM
    # (2, 2) is two cells from agent 1 in both directions; (1, 4) is four from both agents.
    assert at_cell(picture, 2, 2) == render.REACHED
    assert at_cell(picture, 1, 4) == render.OPEN
    assert at_cell(picture, 3, 3) == render.PAPER


def test_the_battle_shows_the_living_their_bars_attacks_and_who_fell():
    env = battle.make("battle-3m", 1, reaction_s=0)
    x = np.array([[0, -10, -10, 5.5, 12, 12]], np.float32)
    y = np.array([[0, 5, -5, 0, 8, -8]], np.float32)
    env.place(x, y, np.array([[45, 45, 0, 45, 0, 0]], np.float32))
    env.step(np.array([[6, 1, 0]]))
    picture = render.frame(env)
    assert in_field(picture, 0, 0) == render.TEAM
    assert in_field(picture, 5.5, 0) == render.ENEMY
    # The line of fire, drawn by both.
    assert in_field(picture, 2.7, 0) != render.PAPER
    assert in_field(picture, 2.7, 1) == render.PAPER
    # Agent 3 lies at (-10, -5): a cross of a paler colour.
    fallen = in_field(picture, -10, -5)
    assert fallen not in (render.TEAM, render.PAPER)
    # Enemy 1 has 39 of 45: its bar, of the width of the unit, is empty in the last seventh.
    bar = 0.375 + 2 / render.CELL
    assert in_field(picture, 5.5, bar) == render.HEALTH
    assert in_field(picture, 5.5 + 0.34, bar) == render.MISSING
    assert in_field(picture, -10 + 0.34, 5 + bar) == render.HEALTH


def test_other_tasks_have_no_picture():
    class Other:
        layout = grid.layout("cn-3")

    with pytest.raises(LabError, match="no picture of 'cn-3'; drawn are"):
        render.frame(Other())  # pyright: ignore[reportArgumentType]


def shown(path) -> list[np.ndarray]:
    with Image.open(path) as gif:
        return [np.asarray(one.convert("RGB")) for one in ImageSequence.Iterator(gif)]


@pytest.mark.parametrize("count", [100, 200])
def test_a_gif_shows_each_frame_in_its_own_colours(count, tmp_path):
    """Two frames of 100 colours share a palette of 256; of 200 each has its own."""
    first = np.zeros((4, 50, 3), np.uint8)
    first[..., 1].flat = np.arange(200) % count
    second = first + np.array([7, 0, 3], np.uint8)
    render.save_gif(tmp_path / "episode.gif", [first, second], fps=5)
    np.testing.assert_array_equal(shown(tmp_path / "episode.gif"), [first, second])


def test_a_frame_of_more_colours_than_a_palette_gets_near_ones(tmp_path):
    frame = np.zeros((20, 20, 3), np.uint8)
    frame[..., 0], frame[..., 1] = np.arange(20), np.arange(20)[:, None]
    render.save_gif(tmp_path / "episode.gif", [frame, 255 - frame], fps=5)
    for one, wanted in zip(shown(tmp_path / "episode.gif"), [frame, 255 - frame], strict=True):
        np.testing.assert_allclose(one.astype(int), wanted.astype(int), atol=8)


def test_gif_and_strip_hold_all_frames(tmp_path):
    frames = [np.full((20, 30, 3), shade, np.uint8) for shade in (0, 128, 255)]
    render.save_gif(tmp_path / "episode.gif", frames, fps=5)
    with Image.open(tmp_path / "episode.gif") as gif:
        assert (getattr(gif, "n_frames", 1), gif.info["duration"], gif.info["loop"]) == (3, 200, 0)
    render.save_strip(tmp_path / "episode.png", frames, columns=2)
    with Image.open(tmp_path / "episode.png") as strip:
        assert strip.size == (2 * 30 + render.GAP, 2 * 20 + render.GAP)
        below = 20 + render.GAP + 5
        assert strip.getpixel((5, 5)) == (0, 0, 0)
        assert strip.getpixel((30 + render.GAP + 5, 5)) == (128, 128, 128)
        assert strip.getpixel((5, below)) == (255, 255, 255)
