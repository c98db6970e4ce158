"""SMACv2 (arXiv 2212.07489): the real game with random unit types and positions.

`terran_5_vs_5` is 5 Terran units against 5; protoss and zerg likewise, on the map 10gen_RACE with
the benchmark's settings: types drawn with weights 0.45, 0.45 and 0.1, starts surrounded or
reflected with probability one half each, units' own ranges, own position in the observation, no
field of view. Enemies are seen by everybody in sight (`prob_obs_enemy` 1). An equal seed draws
equal teams and positions; the chances of the game itself go on as in `smac`.

Terran teams may not outnumber their enemies: medivacs heal, and the game then counts an action for
each ally, which the layout cannot say.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from labrun.errors import LabError

from lab_stairs.environments.serial import SerialEnv
from lab_stairs.environments.smac import Battle, Game, battles, check_game, load
from lab_stairs.environments.smac_layout import smac_layout
from lab_stairs.layouts import Layout
