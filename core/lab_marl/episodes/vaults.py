"""Reader of OG-MARL vaults (`<scenario>.vlt/<Good|Medium|Poor>`), without JAX.

A vault is a folder with metadata.json and one key-value store, in which each key is a zarr array
[1, T, ...]. tensorstore reads it.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from labrun.errors import LabError

from lab_marl.episodes import flat
from lab_marl.episodes.layouts import Layout

MARK = "manifest.ocdbt"
"""The file of a vault by which it is known."""


def read(folder: Path, layout: Layout, *, episodes: int) -> Iterator[dict[str, np.ndarray]]:
    """The published keys [E, T, ...], at most so many episodes at a time.

    Raises LabError for a missing package, a damaged vault, or one without a key.
    """
    steps = int(_array(folder, "vault_index", None)[0])
    terminated = _every_agent(_array(folder, "terminals.", (0, steps)))
    truncated = _every_agent(_array(folder, "truncations.", (0, steps)))
    for span in flat.groups(terminated | truncated, episodes=episodes):
        ends = (terminated[slice(*span)], truncated[slice(*span)])
        yield flat.padded(_steps(folder, layout, span, *ends), layout)


def _steps(
    folder: Path,
    layout: Layout,
    span: tuple[int, int],
    terminated: np.ndarray,
    truncated: np.ndarray,
) -> flat.Steps:
    def key(name: str) -> np.ndarray:
        return _array(folder, f"{name}.", span)

    obs, actions, count = key("observations"), key("actions"), len(terminated)
    avail = np.ones((count, layout.num_agents, layout.num_actions), np.uint8)
    return flat.Steps(
        obs=obs,
        state=key("infos.state"),
        actions=actions if layout.continuous else actions.reshape(count, -1),
        avail_actions=avail if layout.continuous else key("infos.legals").astype(np.uint8),
        reward=flat.team_reward(key("rewards")),
        terminated=terminated,
        truncated=truncated,
    )


def _every_agent(flags: np.ndarray) -> np.ndarray:
    """[N] bool: whether flags [N, n] are set for all agents."""
    return np.asarray(flags.reshape(len(flags), -1).all(1))


def _array(folder: Path, name: str, span: tuple[int, int] | None) -> np.ndarray:
    """One key: the steps of a span, without the axis of one; None: all of it."""
    store = {"driver": "ocdbt", "base": f"file://{folder.absolute()}", "path": name}
    try:
        opened = _tensorstore().open({"driver": "zarr", "kvstore": store}).result()
        return np.asarray((opened if span is None else opened[0, slice(*span)]).read().result())
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise LabError(f"{folder}: key {name.rstrip('.')!r} cannot be read: {reason}") from error


def _tensorstore() -> Any:
    if find_spec("tensorstore") is None:
        raise LabError("tensorstore is not installed; run: pip install 'labrun[vaults]'")
    import tensorstore

    return tensorstore
