"""Reader of OG-MARL vaults (`<scenario>.vlt/<Good|Medium|Poor>`), without JAX.

A vault is a folder with metadata.json and one key-value store, in which each key is a zarr array
[1, T, ...]. tensorstore reads it.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from labrun.errors import LabError

from lab_marl.episodes import flat
from lab_marl.episodes.layouts import Layout

MARK = "manifest.ocdbt"
"""The file of a vault by which it is known."""


def read(folder: Path, layout: Layout) -> dict[str, np.ndarray]:
    """The published keys [E, T, ...]. Raises LabError for a missing package, a damaged vault, or
    one without a key."""
    steps = int(_array(folder, "vault_index", None)[0])

    def key(name: str) -> np.ndarray:
        return _array(folder, f"{name}.", steps)

    terminals, truncations = key("terminals"), key("truncations")
    obs, actions = key("observations"), key("actions")
    avail = np.ones((steps, layout.num_agents, layout.num_actions), np.uint8)
    found = flat.Steps(
        obs=obs,
        state=key("infos.state"),
        actions=actions if layout.continuous else actions.reshape(steps, -1),
        avail_actions=avail if layout.continuous else key("infos.legals").astype(np.uint8),
        reward=flat.team_reward(key("rewards")),
        terminated=np.asarray(terminals.reshape(steps, -1).all(1)),
        truncated=np.asarray(truncations.reshape(steps, -1).all(1)),
    )
    return flat.padded(found, layout)


def _array(folder: Path, name: str, steps: int | None) -> np.ndarray:
    """One key: its first `steps` steps, without the axis of one; None: all of it."""
    store = {"driver": "ocdbt", "base": f"file://{folder.absolute()}", "path": name}
    try:
        opened = _tensorstore().open({"driver": "zarr", "kvstore": store}).result()
        return np.asarray((opened if steps is None else opened[0, :steps]).read().result())
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise LabError(f"{folder}: key {name.rstrip('.')!r} cannot be read: {reason}") from error


def _tensorstore() -> Any:
    if find_spec("tensorstore") is None:
        raise LabError("tensorstore is not installed; run: pip install 'labrun[vaults]'")
    import tensorstore

    return tensorstore
