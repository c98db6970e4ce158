"""Reader of OG-MARL vaults (`<scenario>.vlt/<Good|Medium|Poor>`), without JAX.

A vault is a folder with metadata.json and one key-value store, in which each key is a zarr array
[1, T, ...]. tensorstore reads it.
"""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from labrun.errors import LabError, listed

from lab_marl.episodes import flat
from lab_marl.episodes.layouts import Layout

MARK = "manifest.ocdbt"
"""The file of a vault by which it is known."""


def read(folder: Path, layout: Layout, *, episodes: int) -> Iterator[flat.Padded]:
    """At most so many episodes at a time.

    Raises LabError for a missing package, a damaged vault, one without a key, and flags and masks
    that are neither 0 nor 1.
    """
    steps = int(_array(folder, "vault_index", None)[0])
    terminated = _every_agent(_flags(folder, "terminals", (0, steps)))
    truncated = _every_agent(_flags(folder, "truncations", (0, steps)))
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
    if layout.continuous:
        avail = np.ones((count, layout.num_agents, layout.num_actions), np.uint8)
    else:
        avail, actions = _flags(folder, "infos.legals", span), actions.reshape(count, -1)
    reward, notes = flat.team_reward(key("rewards"))
    return flat.Steps(
        obs=obs,
        state=key("infos.state"),
        actions=actions,
        avail_actions=avail,
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        notes=notes,
    )


def _flags(folder: Path, name: str, span: tuple[int, int]) -> np.ndarray:
    """[N, ...] uint8 of a key that holds 0 and 1."""
    values = _array(folder, f"{name}.", span)
    flat.check_flags(values, where=f"{folder}: key {name!r}", first=span[0])
    return values.astype(np.uint8)


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
        raise _unread(folder, name, error) from error


def _unread(folder: Path, name: str, error: Exception) -> LabError:
    """The refusal of a key: it is missing, or damaged."""
    key, names = name.rstrip("."), _names(folder)
    if names and key not in names:
        return LabError(
            f"{folder} has no key {key!r}, which a conversion needs; it has: "
            f"{listed(names, near=key, most=len(names))}"
        )
    reason = " ".join(str(error).split())[:160]
    return LabError(f"{folder}: key {key!r} cannot be read: {reason}; get the vault again")


def _names(folder: Path) -> list[str]:
    """The keys of a vault; none where it is damaged."""
    store = {"driver": "ocdbt", "base": f"file://{folder.absolute()}"}
    try:
        files = _tensorstore().KvStore.open(store).result().list().result()
    except (ValueError, OSError):
        return []
    ends = (b"./.zarray", b"/.zarray")
    return sorted({_without(name, ends).decode(errors="replace") for name in files} - {""})


def _without(name: bytes, ends: Sequence[bytes]) -> bytes:
    """The name without the first of the ends that it has; nothing where it has none."""
    return next((name.removesuffix(end) for end in ends if name.endswith(end)), b"")


def _tensorstore() -> Any:
    if find_spec("tensorstore") is None:
        raise LabError("tensorstore is not installed; run: pip install 'labrun[vaults]'")
    import tensorstore

    return tensorstore
