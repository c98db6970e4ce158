"""An entry of Hydra's store that costs nothing until a configuration reads it."""

import functools
from collections.abc import Mapping
from typing import Any

from hydra.core.config_store import ConfigNode
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
    def node(self) -> DictConfig:  # pyright: ignore[reportIncompatibleVariableOverride]
        return OmegaConf.create(dict(self.values))

    def __deepcopy__(self, _: Any) -> "Entry":
        return self
