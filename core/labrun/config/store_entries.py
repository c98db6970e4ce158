"""What Hydra's store holds: entries that cost nothing until a configuration reads them."""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.conf import RuntimeConf
from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import DictConfig, OmegaConf


class Entry(ConfigNode):
    """The values of one component or preset, or of the whole.

    Hydra's own entry is a DictConfig from the start, and Hydra copies its whole store whenever it
    composes. That took longer than all else, and few entries are read.
    """

    def __init__(
        self,
        name: str,
        values: Mapping[str, Any],
        group: str | None = None,
        package: str | None = None,
    ) -> None:
        self.name = f"{name}.yaml"
        self.values = values
        self.group = group
        self.package = package
        self.provider = None

    @functools.cached_property
    def node(self) -> DictConfig:
        return OmegaConf.create(dict(self.values))

    def __copy__(self) -> "Entry":
        """What Hydra reads, and then copies the node of: made once, whoever reads it."""
        twin = Entry(self.name.removesuffix(".yaml"), self.values, self.group, self.package)
        twin.node = self.node
        return twin

    def __deepcopy__(self, _: Any) -> "Entry":
        return self


@contextmanager
def only_composing() -> Iterator[None]:
    """While entered, Hydra's own configuration is what a composition writes down there.

    Its whole one is of a program that it runs, in eight groups. To read those for each composition
    takes longer than all that is composed.
    """
    own = ConfigStore.instance().repo["hydra"]
    whole = own["config.yaml"]
    own["config.yaml"] = _composing()
    try:
        yield
    finally:
        own["config.yaml"] = whole


@functools.cache
def _composing() -> Entry:
    return Entry("config", _written(), "hydra", "hydra")


def _written() -> dict[str, Any]:
    names = {"kv_sep": "=", "item_sep": ",", "exclude_keys": []}
    return {
        "searchpath": [],
        "overrides": {"hydra": [], "task": []},
        "runtime": RuntimeConf("", "", "", [], ""),
        "job": {
            "name": "labrun",
            "config_name": None,
            "override_dirname": "",
            "env_copy": [],
            "env_set": {},
            "config": {"override_dirname": names},
        },
    }
