"""Battles with SMAC's interface and shapes (`battle-3m`, ...): a proxy, and no SMAC.

StarCraft II does not run. Units walk, shoot and die by the rules of battle_rules.py, vectorised
over episodes; what they show (observations, state, masks, rewards) has SMAC's form. Field, walks,
ranges, spawns and weapons were read off recorded episodes of SMAC's 3m and StarCraft's unit tables,
but fights go another way, and a policy trained in one need not win in the other. Results are named
`battle-...` and are no SMAC results.

Enemies walk to the team's spawn, attack what comes near, and keep a target while it is close. Left
out: regeneration of shields, turning and wind-up of attacks, terrain, and paths around other units
(those that overlap are pushed apart once a step). Chance enters only where the enemies start.
"""

import numpy as np
from labrun.errors import unknown

from lab_marl.environments.battle_frame import Armies, Views
from lab_marl.environments.battle_rules import CROWDING, SPAWN_X, Rules, formation
from lab_marl.environments.interface import Frame, Outcome
from lab_marl.environments.smac_layout import smac_layout
from lab_marl.environments.units import MAPS, Map
from lab_marl.episodes.layouts import Layout

PREFIX = "battle-"
JITTER = 0.3
"""Standard deviation of an enemy's start around its place in the formation, in cells."""
REACTION_S = 0.2
"""Seconds at least from an enemy's turn to a new target to its next attack."""
DEATH_VALUE, WIN_VALUE, MAX_RETURN = 10.0, 200.0, 20.0
"""SMAC's rewards: damage done, and these for a kill and for the battle, scaled so that a battle
won returns MAX_RETURN."""

examples = ("battle-3m", "battle-5m_vs_6m", "battle-2s3z")


def owns(task: str) -> bool:
    return task.startswith(PREFIX) and task.removeprefix(PREFIX) in MAPS


def layout(task: str) -> Layout:
    """SMAC's layout of the map."""
    battle = _map_of(task)
    return smac_layout(
        task,
        family="battle",
        allies=len(battle.allies),
        enemies=len(battle.enemies),
        episode_limit=battle.episode_limit,
        types=len(battle.types),
        ally_shields=battle.shields,
        enemy_shields=battle.shields,
    )


def make(
    task: str,
    num_envs: int,
    *,
    enemy_cooldown: float | None = None,
    reaction_s: float = REACTION_S,
) -> "BattleEnv":
    """`num_envs` battles. The difficulty: a factor on the enemies' cooldowns (larger is easier; the
    map's own where it is None) and their reaction time in seconds."""
    battle = _map_of(task)
    factor = battle.enemy_cooldown if enemy_cooldown is None else enemy_cooldown
    rules = Rules(battle, num_envs, enemy_cooldown=factor, reaction_s=reaction_s)
    return BattleEnv(layout(task), battle, rules, num_envs)


def _map_of(task: str) -> Map:
    name = task.removeprefix(PREFIX)
    if name not in MAPS:
        raise unknown("battle map", name, MAPS)
    return MAPS[name]


class BattleEnv:
    """E battles on one map. `armies` holds the units [E, N], `targets` whom each is after."""

    def __init__(self, layout: Layout, battle: Map, rules: Rules, num_envs: int) -> None:
        self.layout, self.battle, self.rules = layout, battle, rules
        self.num_envs = num_envs
        self.views = Views(layout, battle)
        self.health, self.shield = self.views.health, self.views.shield
        bounty = DEATH_VALUE * layout.num_enemies + WIN_VALUE
        enemies = (self.health + self.shield)[layout.num_agents :]
        self.scale = MAX_RETURN / (float(enemies.sum()) + bounty)
        """Reward of one point of damage."""

    def reset(self, seed: int) -> Frame:
        """Both teams in formation; the enemies' places are shuffled and jittered."""
        rng = np.random.default_rng(seed)
        n, m, count = self.layout.num_agents, self.layout.num_enemies, self.num_envs
        spacing = 2 * CROWDING * self.rules.radius.max()
        order = rng.permuted(np.tile(np.arange(m), (count, 1)), axis=1)
        enemies = formation(m)[order] * spacing + rng.normal(0, JITTER, (count, m, 2))
        agents = np.broadcast_to(formation(n) * spacing, (count, n, 2))
        x = np.concatenate([agents[..., 0] - SPAWN_X, enemies[..., 0] + SPAWN_X], axis=1)
        return self.place(x, np.concatenate([agents[..., 1], enemies[..., 1]], axis=1))

    def place(self, x: np.ndarray, y: np.ndarray, health: np.ndarray | None = None) -> Frame:
        """Begin battles with units at positions [E, N], in cells from the field's centre; unhurt
        where no health is given."""
        points = self.health if health is None else health.astype(np.float32)
        self.armies = Armies(
            x=np.array(x, np.float32),
            y=np.array(y, np.float32),
            health=np.array(np.broadcast_to(points, x.shape)),
            shield=np.tile(self.shield, (self.num_envs, 1)),
            cooldown=np.zeros(x.shape, np.float32),
        )
        self.targets = np.full(x.shape, -1)
        self.live = np.ones(self.num_envs, bool)
        self.time = 0
        return self._show(None)

    def step(self, actions: np.ndarray) -> tuple[Frame, Outcome]:
        allowed = np.take_along_axis(self.avail_actions, actions[..., None], axis=-1)
        assert allowed.all(), "an action that the mask forbids"
        before = self._strength()
        self.targets = self.rules.aim(self.armies, self.targets, self.distance, actions)
        self.rules.fight(self.armies, self.targets, actions, self.live)
        self.rules.part(self.armies, self.live)
        self.time += 1
        outcome = self._outcome(before - self._strength())
        return self._show(actions), outcome

    def _strength(self) -> np.ndarray:
        """[E] health and shields of the enemies, and the bounty of those that stand."""
        armies, n = self.armies, self.layout.num_agents
        points = armies.health + armies.shield + DEATH_VALUE * (armies.health > 0)
        return points[:, n:].sum(1)

    def _outcome(self, loss: np.ndarray) -> Outcome:
        alive = self.armies.health > 0
        n = self.layout.num_agents
        team, enemies = alive[:, :n].any(1), alive[:, n:].any(1)
        won = self.live & team & ~enemies
        terminated = self.live & ~(team & enemies)
        truncated = self.live & ~terminated & (self.time >= self.layout.episode_limit)
        self.live = self.live & ~terminated & ~truncated
        reward = (loss + WIN_VALUE * won) * self.scale
        return Outcome(reward.astype(np.float32), terminated, truncated, won)

    def _show(self, last: np.ndarray | None) -> Frame:
        frame, self.distance = self.views.show(self.armies, last)
        self.avail_actions = frame.avail_actions
        return frame
