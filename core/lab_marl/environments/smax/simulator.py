"""Battles of SMAX that step together, in JAX; only the process of `worker` imports JAX.

Copies step in chunks of `CHUNK`. So a task is compiled once, whatever the number of its copies, and
an episode does not depend on how many stand beside it. A copy's random numbers come from its seed
and its step alone.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from lab_marl.environments.smax.scenarios import STOP, Scenario

CHUNK = 32


@dataclass(frozen=True)
class Shown:
    """What the copies show, and what their last step brought; zeros after a reset."""

    obs: np.ndarray
    """[E, n, o] float32."""
    state: np.ndarray
    """[E, s] float32."""
    avail_actions: np.ndarray
    """[E, n, a] bool."""
    reward: np.ndarray
    """[E] float32."""
    terminated: np.ndarray
    truncated: np.ndarray
    won: np.ndarray
    """[E] bool each."""


class Game:
    """The compiled rules of one scenario, against JaxMARL's heuristic enemies.

    A copy is a tree of its key, its state, and the memory of the heuristic policy that may play for
    the agents. One that has ended stays as it is.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.jax, self.jnp = import_module("jax"), import_module("jax.numpy")
        self.heuristic = import_module("jaxmarl.environments.smax.heuristic_enemy")
        self.env = environment(scenario)
        self.plays = self.heuristic.create_heuristic_policy(
            self.env._env, 0, shoot=True, attack_mode="closest"
        )
        self.begin = self._compiled(self._begun)
        self.step = self._compiled(self._stepped)
        self.advise = self._compiled(self._advised)

    def sizes(self) -> dict[str, object]:
        """What the environment says of its vectors and of its limit."""
        env, bits = self.env, self.env.unit_type_bits
        return {
            "obs_size": env.obs_size,
            "state_size": len(env.own_features) * (env.num_agents + env.num_enemies),
            "num_agents": env.num_agents,
            "num_enemies": env.num_enemies,
            "num_non_attack": env.num_movement_actions,
            "num_actions": env.num_ally_actions,
            "episode_limit": env.max_steps + 1,  # it is asked for before the step is counted
            "own features": tuple(env.own_features[:-bits]),
            "unit features": tuple(env.unit_features[:-bits]),
            "type bits": bits,
        }

    def _compiled(self, function: Any) -> Any:
        return self.jax.jit(self.jax.vmap(function))

    def _begun(self, seed: Any) -> tuple[Any, Any]:
        """(copy, what `Shown` holds of it) at the start of the seed's episode."""
        jax, jnp = self.jax, self.jnp
        key = jax.random.key(seed)
        _, state = self.env.reset(jax.random.fold_in(key, 0))
        first = self.heuristic.get_heuristic_policy_initial_state()
        memory = jax.tree.map(lambda leaf: jnp.stack([leaf] * self.env.num_agents), first)
        copy = jax.tree.map(self._typed, (key, state, memory))
        no = jnp.bool_(False)
        return copy, (*self._views(state), jnp.float32(0), no, no, no)

    def _stepped(self, copy: Any, actions: Any) -> tuple[Any, Any]:
        """(copy, what `Shown` holds of it) after the agents' actions [n]."""
        jax, jnp, n = self.jax, self.jnp, self.env.num_agents
        key, before, memory = copy
        chance = jax.random.fold_in(key, 2 * before.state.step + 1)
        named = dict(zip(self.env.agents, actions, strict=True))
        _, after, rewards, _, _ = self.env.step_env(chance, before, named)
        over = before.state.done
        after = jax.tree.map(lambda old, new: jnp.where(over, old, new), before, after)
        team, enemies = after.state.unit_alive[:n].any(), after.state.unit_alive[n:].any()
        terminated = ~over & ~(team & enemies)
        truncated = ~over & ~terminated & after.state.done
        reward = jnp.where(over, 0, rewards[self.env.agents[0]])
        brought = reward, terminated, truncated, ~over & team & ~enemies
        return (key, after, memory), (*self._views(after), *brought)

    def _advised(self, copy: Any) -> tuple[Any, Any]:
        """(copy, the heuristic policy's actions [n]); stop where its choice is forbidden."""
        jax, jnp = self.jax, self.jnp
        key, state, memory = copy
        chance = jax.random.fold_in(key, 2 * state.state.step + 2)
        obs, _, avail = self._views(state)
        keys = jax.random.split(chance, self.env.num_agents)
        actions, memory = jax.vmap(self.plays)(keys, memory, obs)
        allowed = jnp.take_along_axis(avail, actions[:, None], axis=1)[:, 0]
        return (key, state, memory), jnp.where(allowed, actions, STOP)

    def _views(self, state: Any) -> tuple[Any, Any, Any]:
        """Observations [n, o], state [s] and available actions [n, a]."""
        obs, avail = self.env.get_obs(state), self.env.get_avail_actions(state)
        rows = [self.jnp.stack([view[agent] for agent in self.env.agents]) for view in (obs, avail)]
        return rows[0], self._state(state), rows[1].astype(bool)

    def _state(self, state: Any) -> Any:
        """[s] JaxMARL's world state, each unit scaled as it is in its own observation: positions by
        the field, the time to the next attack by its unit's. Without the teams and the numbers of
        the kinds at its end."""
        env, jnp, width = self.env, self.jnp, len(self.env.own_features)
        kinds = state.state.unit_types
        units = env.get_world_state(state)[: len(kinds) * width].reshape(-1, width)
        field = jnp.array([env.map_width, env.map_height])
        waits = units[:, 3] / env.unit_type_weapon_cooldowns[kinds]
        scaled = [units[:, :1], units[:, 1:3] / field, jnp.clip(waits, 0, 1)[:, None], units[:, 4:]]
        return jnp.concatenate(scaled, axis=1).reshape(-1)

    def _typed(self, leaf: Any) -> Any:
        """The leaf with a type of its own: a weak one would have the next step compiled twice."""
        return self.jax.lax.convert_element_type(leaf, leaf.dtype)


class Battles:
    """Copies of a game, as many as there are seeds in the last reset."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self._chunks: list[Any] = []
        self._count = 0

    def reset(self, seeds: np.ndarray) -> Shown:
        """Begin one episode for each seed [E] uint32."""
        self._count = len(seeds)
        return self._gathered([self.game.begin(part) for part in _chunks(seeds)])

    def step(self, actions: np.ndarray) -> Shown:
        """Actions [E, n] int32, allowed ones."""
        parts = zip(self._chunks, _chunks(actions), strict=True)
        return self._gathered([self.game.step(copies, part) for copies, part in parts])

    def advise(self) -> np.ndarray:
        """[E, n] what the heuristic policy does now. It keeps its targets in memory: ask it once a
        step."""
        pairs = [self.game.advise(copies) for copies in self._chunks]
        self._chunks = [copies for copies, _ in pairs]
        return np.concatenate([np.asarray(actions) for _, actions in pairs])[: self._count]

    def _gathered(self, pairs: list[tuple[Any, Any]]) -> Shown:
        self._chunks = [copies for copies, _ in pairs]
        columns = zip(*(shown for _, shown in pairs), strict=True)
        values = [np.concatenate([np.asarray(part) for part in parts]) for parts in columns]
        return Shown(*(value[: self._count] for value in values))


def environment(scenario: Scenario) -> Any:
    """JaxMARL's environment of a scenario, with JaxMARL's own settings."""
    smax, jnp = import_module("jaxmarl.environments.smax"), import_module("jax.numpy")
    names = smax.SMAX().unit_type_names
    kinds = [names.index(unit) for unit in scenario.allies + scenario.enemies]
    return smax.HeuristicEnemySMAX(
        scenario=smax.Scenario(
            unit_types=jnp.array(kinds, jnp.uint8),
            num_allies=len(scenario.allies),
            num_enemies=len(scenario.enemies),
            smacv2_position_generation=scenario.drawn,
            smacv2_unit_type_generation=scenario.drawn,
        )
    )


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    """The rows in parts of `CHUNK`; the last part is filled up with its first row."""
    parts = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    missing = CHUNK - len(parts[-1])
    parts[-1] = np.concatenate([parts[-1], np.repeat(parts[-1][:1], missing, axis=0)])
    return parts
