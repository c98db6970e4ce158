"""Series as bytes, each of which becomes numbers when it is asked for."""

import pickle
from collections.abc import Iterator, Mapping


class PackedSeries(Mapping[str, dict[int, float]]):
    """Metric -> step -> value, unpacked one metric at a time."""

    def __init__(self, packed: dict[str, bytes]) -> None:
        self._packed = packed
        self._unpacked: dict[str, dict[int, float]] = {}

    @classmethod
    def of(cls, series: Mapping[str, Mapping[int, float]]) -> "PackedSeries":
        return cls({name: pickle.dumps(steps, protocol=5) for name, steps in series.items()})

    def __getitem__(self, name: str) -> dict[int, float]:
        if name not in self._unpacked:
            self._unpacked[name] = pickle.loads(self._packed[name])
        return self._unpacked[name]

    def __contains__(self, name: object) -> bool:
        return name in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)
