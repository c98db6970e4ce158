"""Multi-agent MuJoCo: one robot whose joints are shared out among agents.

`halfcheetah-2x3` is a half-cheetah moved by 2 agents with 3 joints each; `-off3` behind it takes
all torque from joint 3, and `-full` at the end makes episodes as long as the package's. Through
gymnasium_robotics.mamujoco_v1; the dynamics, the reward and the ends of episodes are those of its
HalfCheetah and Ant. What differs from it:

1. Every agent sees the robot's trunk and all its joints, each joint as one token, so that one
   network serves all partitions. The package shows an agent its own joints and their neighbours.
2. Episodes are cut off after 200 steps; the package's have 1,000, as those of `-full`.
3. `halfcheetah-3x2` is our own partition: neighbours in pairs, from the hind thigh on.

The joints that an agent moves are its "enemies", so that an action is one number for each enemy
token; all other joints are its "allies". `won` is never set: what counts is the return.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from labrun.errors import LabError

from lab_marl.environments.serial import Result, SerialEnv, View, simulator
from lab_marl.episodes.layouts import EntityBlock, Layout

EPISODE_LIMIT, FULL_LIMIT = 200, 1000

examples = ("halfcheetah-2x3", "halfcheetah-6x1", "halfcheetah-6x1-off3-full", "ant-4x2")


@dataclass(frozen=True)
class Robot:
    """One scenario of the package; its joints are numbered as its motors are."""

    scenario: str
    num_joints: int
    skipped: int
    """Leading coordinates of the trunk that nobody sees: where it stands in the plane."""
    trunk_positions: int
    """Coordinates of the trunk, with the skipped ones."""
    trunk_velocities: int
    named: tuple[str, ...]
    """Partitions that the package knows."""
    paired: tuple[str, ...] = ()
    """Partitions of our own: joints in the motors' order, an equal number to each agent."""

    @property
    def trunk_width(self) -> int:
        return self.trunk_positions - self.skipped + self.trunk_velocities

    @property
    def joint_width(self) -> int:
        """Angle, velocity, which joint (one-hot), no torque."""
        return self.num_joints + 3


ROBOTS = {
    "halfcheetah": Robot("HalfCheetah", 6, 1, 3, 3, named=("2x3", "6x1"), paired=("3x2",)),
    "ant": Robot("Ant", 8, 2, 7, 6, named=("2x4", "2x4d", "4x2")),
}
"""Half-cheetah joints: hind thigh, shin, foot, front thigh, shin, foot. Ant joints: hip and ankle
of leg 4, then of legs 1, 2, 3."""


@dataclass(frozen=True)
class Task:
    """A robot, how its joints are shared out, the joint without torque, and the longest episode."""

    robot: Robot
    partition: str
    disabled: int | None
    episode_limit: int

    @property
    def shares(self) -> tuple[int, int]:
        """Agents, and joints of each."""
        num_agents, num_joints = self.partition.rstrip("d").split("x")
        return int(num_agents), int(num_joints)


def parsed(task: str) -> Task | None:
    """What a name means; None where it is not a task of this family."""
    found = re.fullmatch(r"([a-z]+)-(\d+x\d+d?)(?:-off(\d+))?(-full)?", task)
    robot = ROBOTS.get(found[1]) if found else None
    if not found or robot is None or found[2] not in robot.named + robot.paired:
        return None
    disabled = None if found[3] is None else int(found[3])
    if disabled is not None and disabled >= robot.num_joints:
        return None
    return Task(robot, found[2], disabled, FULL_LIMIT if found[4] else EPISODE_LIMIT)


def owns(task: str) -> bool:
    return parsed(task) is not None


def layout(task: str) -> Layout:
    """Observation: the trunk; the other agents' joints; the own joints. State: for each agent the
    trunk and which joints it moves; all joints in the motors' order."""
    meaning = _parsed(task)
    robot, (num_agents, num_own) = meaning.robot, meaning.shares
    others = EntityBlock(robot.trunk_width, robot.num_joints - num_own, robot.joint_width)
    own_joints = EntityBlock(others.stop, num_own, robot.joint_width)
    agents = EntityBlock(0, num_agents, robot.trunk_width + robot.num_joints)
    joints = EntityBlock(agents.stop, robot.num_joints, robot.joint_width)
    return Layout(
        task=task,
        family="mamujoco",
        num_agents=num_agents,
        num_enemies=num_own,
        num_non_attack=0,
        attacks=False,
        obs_size=own_joints.stop,
        state_size=joints.stop,
        own=((0, robot.trunk_width),),
        allies=others,
        enemies=own_joints,
        state_allies=agents,
        state_enemies=joints,
        episode_limit=meaning.episode_limit,
        continuous=True,
    )


def make(task: str, num_envs: int) -> SerialEnv:
    meaning = _parsed(task)
    multi = _simulator(meaning)
    return SerialEnv(layout(task), [MujocoCopy(meaning, multi) for _ in range(num_envs)])


class MujocoCopy:
    """One copy: its own `data`, MuJoCo's state, which may be set before a step.

    Copies share the package's environment and its model, which no step changes: a model of its own
    for each would cost 5 ms a copy.
    """

    def __init__(self, task: Task, multi: Any) -> None:
        self.task, self.robot = task, multi.single_agent_env.unwrapped
        self.data = simulator("mujoco").MjData(self.robot.model)
        parts = multi.agent_action_partitions
        self.motors = np.array([[node.act_ids for node in part] for part in parts])
        """[n, a] motors of each agent."""
        joints = self.robot.model.actuator_trnid[:, 0]
        self._angles = self.robot.model.jnt_qposadr[joints]
        self._speeds = self.robot.model.jnt_dofadr[joints]
        self.torque = np.ones(task.robot.num_joints)
        """[joints] 0 where the motor is off, else 1."""
        if task.disabled is not None:
            self.torque[task.disabled] = 0
        everything = np.arange(task.robot.num_joints)
        others = [np.setdiff1d(everything, own) for own in self.motors]
        self._order = np.concatenate([others, self.motors], axis=1)
        self._moved = np.array([np.isin(everything, own) for own in self.motors], float)
        self._labels = np.column_stack([np.eye(task.robot.num_joints), 1 - self.torque])

    def reset(self, seed: int) -> View:
        self.robot.data = self.data
        self.robot.reset(seed=seed)
        return self.view()

    def step(self, actions: np.ndarray) -> tuple[View, Result]:
        self.robot.data = self.data
        control = np.zeros(self.task.robot.num_joints)
        control[self.motors] = actions
        _, reward, terminated, _, _ = self.robot.step(control * self.torque)
        return self.view(), Result(float(reward), bool(terminated), False)

    def view(self) -> View:
        """What the robot shows now."""
        joints, n = self.joints(), len(self.motors)
        trunks = np.repeat(self.trunk()[None], n, axis=0)
        agents = np.concatenate([trunks, self._moved], axis=1)
        return View(
            obs=np.concatenate([trunks, joints[self._order].reshape(n, -1)], axis=1),
            state=np.concatenate([agents.ravel(), joints.ravel()]),
            avail_actions=np.ones(self.motors.shape, bool),
        )

    def trunk(self) -> np.ndarray:
        """Height and attitude of the trunk, then its velocities."""
        robot, data = self.task.robot, self.data
        positions = data.qpos[robot.skipped : robot.trunk_positions]
        return np.concatenate([positions, data.qvel[: robot.trunk_velocities]])

    def joints(self) -> np.ndarray:
        """[joints, `joint_width`] in the motors' order; rad and rad/s."""
        moving = np.stack([self.data.qpos[self._angles], self.data.qvel[self._speeds]], axis=1)
        return np.concatenate([moving, self._labels], axis=1)


def _parsed(task: str) -> Task:
    meaning = parsed(task)
    if meaning is None:
        raise LabError(f"no mamujoco task {task!r}; known are names such as: {', '.join(examples)}")
    return meaning


def _simulator(task: Task) -> Any:
    """The package's environment of a task's partition."""
    package, robot = simulator("gymnasium_robotics").mamujoco_v1, task.robot
    factors = None
    if task.partition in robot.paired:
        (whole,), edges, everywhere = package.get_parts_and_edges(robot.scenario, None)
        size = task.shares[1]
        parts = [whole[first : first + size] for first in range(0, robot.num_joints, size)]
        factors = {"partition": parts, "edges": edges, "globals": everywhere}
    with _quiet_loading():
        return package.parallel_env(
            scenario=robot.scenario, agent_conf=task.partition, agent_factorization=factors
        )


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Keeps MuJoCo from writing MUJOCO_LOG.TXT into the working directory because Gymnasium's
    half-cheetah has an outdated attribute; passes on whatever else MuJoCo says meanwhile."""
    mujoco, messages = simulator("mujoco"), list[str]()
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(messages.append)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
    for message in messages:
        if "settotalmass" not in message:
            warnings.warn(message, stacklevel=2)
