"""Pictures of grid and battle tasks, for people: RGB arrays, GIFs and strips."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from labrun.errors import LabError
from PIL import Image, ImageDraw, ImageFont

from lab_marl.environments.battle import BattleEnv
from lab_marl.environments.battle_frame import HALF_HEIGHT, HALF_WIDTH
from lab_marl.environments.grid import REACH, GridEnv, within
from lab_marl.environments.interface import VectorEnv

Canvas = tuple[Image.Image, ImageDraw.ImageDraw]

SMOOTH = 2
"""Drawn this many times larger, then shrunk, so that edges are smooth."""
CELL = 26
"""Pixels of a cell of a battle's field."""
BAR = 3
"""Pixels of the thickness of a bar."""
SQUARE = 40
"""Pixels of a cell of the grid."""
CAPTION = 22
"""Pixels of the line of text above a picture."""
GAP = 6
"""Pixels between the pictures of a strip."""
PALETTE = 256
"""Colours of a GIF's palette."""

PAPER, INK, FAINT = (250, 250, 247), (40, 40, 40), (205, 205, 200)
TEAM, ENEMY = (46, 110, 180), (196, 68, 52)
HEALTH, SHIELD, MISSING = (70, 160, 80), (110, 170, 220), (225, 225, 220)
REACHED, OPEN = (70, 160, 80), (225, 150, 40)
CORNERS = {"m": 0, "s": 4, "z": 3}
"""Corners of the shape of each kind of unit; 0 for a disc."""


def draws(env: VectorEnv) -> bool:
    """Whether the task has a picture."""
    return isinstance(env, GridEnv | BattleEnv)


def frame(env: VectorEnv, copy: int = 0) -> np.ndarray:
    """[height, width, 3] uint8: the present state of one copy.

    Raises LabError for a task that has no picture.
    """
    if isinstance(env, GridEnv):
        return grid_frame(env, copy)
    if isinstance(env, BattleEnv):
        return battle_frame(env, copy)
    raise LabError(
        f"no picture of {env.layout.task!r}; drawn are grid (cn-2) and battle (battle-3m)"
    )


def grid_frame(env: GridEnv, copy: int) -> np.ndarray:
    """Agents as numbered discs, landmarks as diamonds, green where an agent reaches them."""
    agents, landmarks = env.agents[copy], env.landmarks[copy]
    image, draw = _canvas(env.size * SQUARE, env.size * SQUARE)
    for line in range(env.size + 1):
        at, end = line * SQUARE * SMOOTH, env.size * SQUARE * SMOOTH
        draw.line([(at, 0), (at, end)], fill=FAINT, width=SMOOTH)
        draw.line([(0, at), (end, at)], fill=FAINT, width=SMOOTH)
    reached = np.atleast_1d(within(agents[:, None], landmarks[None], REACH).any(0))
    for cell, is_reached in zip(landmarks, reached, strict=True):
        x, y = _middle(cell)
        _shape(draw, x, y, 0.45 * SQUARE, corners=4, colour=REACHED if is_reached else OPEN)
    font = ImageFont.load_default(size=SQUARE * SMOOTH * 0.4)
    for number, cell in enumerate(agents, start=1):
        x, y = _middle(cell)
        _shape(draw, x, y, 0.3 * SQUARE, corners=0, colour=TEAM)
        draw.text((x * SMOOTH, y * SMOOTH), str(number), fill=PAPER, font=font, anchor="mm")
    caption = f"{env.layout.task}   step {env.time}   {reached.sum()} of {len(reached)} in reach"
    return _finished(image, caption)


def battle_frame(env: BattleEnv, copy: int) -> np.ndarray:
    """Marines as discs, stalkers as diamonds, zealots as triangles, with bars of shield and health
    and a line to whom each attacks; crosses where units fell."""
    image, draw = _canvas(2 * HALF_WIDTH * CELL, 2 * HALF_HEIGHT * CELL)
    kinds = env.battle.allies + env.battle.enemies
    alive = env.armies.health[copy] > 0
    places = [_pixel(env, copy, unit) for unit in range(len(kinds))]
    for unit, target in _attacks(env, copy):
        line = [(x * SMOOTH, y * SMOOTH) for x, y in (places[unit], places[target])]
        draw.line(line, fill=_colour(env, unit), width=SMOOTH)
    for unit in np.flatnonzero(~alive):
        _cross(draw, *places[unit], colour=_colour(env, int(unit)))
    for unit in np.flatnonzero(alive):
        radius, colour = _radius(env, int(unit)), _colour(env, int(unit))
        _shape(draw, *places[unit], radius, corners=CORNERS[kinds[unit]], colour=colour)
    for unit in np.flatnonzero(alive):
        _bars(draw, env, copy, int(unit), *places[unit])
    n = env.layout.num_agents
    standing = f"{alive[:n].sum()} : {alive[n:].sum()}"
    return _finished(image, f"{env.layout.task}   step {env.time}   {standing}")


def save_gif(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """An endless animation of frames of one size, in their own colours.

    All share one palette where their colours fit into it, else each has its own. A frame of still
    more colours gets the nearest ones.
    """
    codes = [_packed(one) for one in frames]
    shared = _colours(codes)
    places = np.zeros(1 << 24, np.uint8)
    images = []
    for one, code in zip(frames, codes, strict=True):
        palette = shared if len(shared) <= PALETTE else _colours([code])
        fits = len(palette) <= PALETTE
        images.append(_indexed(code, palette, places) if fits else Image.fromarray(one))
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0
    )


def _packed(frame: np.ndarray) -> np.ndarray:
    """[height, width] uint32: each pixel's colour as one number, 0xRRGGBB."""
    red, green, blue = np.moveaxis(frame.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def _colours(codes: Sequence[np.ndarray]) -> np.ndarray:
    """The colours of packed frames, sorted."""
    has = np.zeros(1 << 24, bool)
    for code in codes:
        has[code] = True
    return np.flatnonzero(has)


def _indexed(code: np.ndarray, palette: np.ndarray, places: np.ndarray) -> Image.Image:
    """The packed frame as indices of a palette; `places` is room for an index of each colour."""
    places[palette] = np.arange(len(palette))
    image = Image.fromarray(places[code])
    colours = np.stack([palette >> 16, palette >> 8 & 255, palette & 255], axis=1)
    image.putpalette(colours.astype(np.uint8).tobytes())
    return image


def save_strip(path: Path, frames: Sequence[np.ndarray], columns: int) -> None:
    """Frames of one size side by side, `columns` in a row, as one picture."""
    height, width = frames[0].shape[:2]
    rows = math.ceil(len(frames) / columns)
    size = (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP)
    strip = Image.new("RGB", size, FAINT)
    for index, one in enumerate(frames):
        row, column = divmod(index, columns)
        strip.paste(Image.fromarray(one), (column * (width + GAP), row * (height + GAP)))
    strip.save(path)


def _canvas(width: float, height: float) -> Canvas:
    image = Image.new("RGB", (round(width) * SMOOTH, round(height) * SMOOTH), PAPER)
    return image, ImageDraw.Draw(image)


def _finished(image: Image.Image, caption: str) -> np.ndarray:
    """The picture at its size, below its caption."""
    width, height = image.width // SMOOTH, image.height // SMOOTH
    whole = Image.new("RGB", (width, height + CAPTION), PAPER)
    whole.paste(image.resize((width, height), Image.Resampling.BOX), (0, CAPTION))
    font = ImageFont.load_default(size=CAPTION * 0.6)
    ImageDraw.Draw(whole).text((GAP, CAPTION / 2), caption, fill=INK, font=font, anchor="lm")
    return np.asarray(whole)


def _middle(cell: np.ndarray) -> tuple[float, float]:
    row, column = cell
    return (column + 0.5) * SQUARE, (row + 0.5) * SQUARE


def _pixel(env: BattleEnv, copy: int, unit: int) -> tuple[float, float]:
    x, y = env.armies.x[copy, unit], env.armies.y[copy, unit]
    return float(HALF_WIDTH + x) * CELL, float(HALF_HEIGHT - y) * CELL


def _radius(env: BattleEnv, unit: int) -> float:
    return float(env.rules.radius[unit]) * CELL


def _colour(env: BattleEnv, unit: int) -> tuple[int, int, int]:
    return TEAM if unit < env.layout.num_agents else ENEMY


def _attacks(env: BattleEnv, copy: int) -> list[tuple[int, int]]:
    """(unit, target) of the living that have attacked at least once and go on with it."""
    armies, targets = env.armies, env.targets[copy]
    attacks = (armies.health[copy] > 0) & (targets >= 0) & (armies.cooldown[copy] > 0)
    return [(int(unit), int(targets[unit])) for unit in np.flatnonzero(attacks)]


def _shape(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    radius: float,
    *,
    corners: int,
    colour: tuple[int, int, int],
) -> None:
    x, y, radius = x * SMOOTH, y * SMOOTH, radius * SMOOTH
    if not corners:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
        return
    turns = [2 * math.pi * corner / corners for corner in range(corners)]
    draw.polygon(
        [(x + radius * math.sin(turn), y - radius * math.cos(turn)) for turn in turns], fill=colour
    )


def _cross(draw: ImageDraw.ImageDraw, x: float, y: float, *, colour: tuple[int, int, int]) -> None:
    x, y, arm = x * SMOOTH, y * SMOOTH, 0.25 * CELL * SMOOTH
    faded = tuple((one + 2 * other) // 3 for one, other in zip(colour, PAPER, strict=True))
    for sign in (1, -1):
        draw.line([(x - arm, y - sign * arm), (x + arm, y + sign * arm)], faded, width=2 * SMOOTH)


def _bars(
    draw: ImageDraw.ImageDraw, env: BattleEnv, copy: int, unit: int, x: float, y: float
) -> None:
    """Health at the unit's upper rim, and above it the shield of a unit that has one."""
    armies, radius = env.armies, _radius(env, unit)
    bars = [(float(armies.health[copy, unit] / env.health[unit]), HEALTH)]
    if env.shield[unit]:
        bars.append((float(armies.shield[copy, unit] / env.shield[unit]), SHIELD))
    left, right, bottom = ((x - radius) * SMOOTH, (x + radius) * SMOOTH, (y - radius) * SMOOTH)
    for share, colour in bars:
        top = bottom - BAR * SMOOTH
        draw.rectangle([left, top, right, bottom], fill=MISSING)
        if share > 0:
            draw.rectangle([left, top, left + (right - left) * share, bottom], fill=colour)
        bottom = top - 1
