"""SMAX (JaxMARL, arXiv 2311.10090): battles like SMAC's, without StarCraft II (`smax-3m`, ...).

JaxMARL's own environment and its heuristic enemies, which attack the closest unit. A name gives
each side's units, as in JaxMARL's scenarios (`smax-3m`, `smax-5m_vs_6m`, `smax-2s3z`,
`smax-6h_vs_8z`); other counts are the same rules with other teams. `smax-smacv2_5_units` draws
kinds and places for each episode; both teams then have the same kinds.

Observations, masks and rewards are JaxMARL's: the team earns the share of the enemies' health that
it destroys, and 1 for a battle won. The state is JaxMARL's, scaled as its observations are:
unscaled, positions reach 32 and waiting times -50 s. A battle is won when all enemies have fallen
and an agent stands; walls kill. Results are named `smax-...` and are no SMAC results.
"""

from importlib.metadata import version
from importlib.util import find_spec

from labrun.errors import LabError

from lab_marl.environments.serial import WITHOUT
from lab_marl.environments.smax.battles import SmaxEnv
from lab_marl.environments.smax.scenarios import examples, layout, owns, parsed

__all__ = ["examples", "layout", "make", "owns"]

INSTALL = "run: pip install 'labrun[smax]'"
VERSION = "0.2."
"""How the version of JaxMARL begins whose numbers the layouts describe."""


def make(task: str, num_envs: int) -> SmaxEnv:
    """`num_envs` battles. Raises LabError where JaxMARL is missing, or another version."""
    scenario = parsed(task)
    if find_spec("jaxmarl") is None:
        raise LabError(f"task {task!r} needs jaxmarl, which is not installed; {INSTALL}; {WITHOUT}")
    installed = version("jaxmarl")
    if not installed.startswith(VERSION):
        raise LabError(f"task {task!r} needs jaxmarl {VERSION}x, got {installed}; {INSTALL}")
    return SmaxEnv(layout(task), scenario, num_envs)
