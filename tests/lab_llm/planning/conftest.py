"""GPUs that a plan finds on this machine."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from lab_llm.planning.estimates import GIB

Cards = Callable[..., None]


@pytest.fixture
def cards(monkeypatch) -> Cards:
    """`cards(24, 80)`: this machine has two, of so many GiB."""

    def have(*sizes_gib: float) -> None:
        found = [SimpleNamespace(total_memory=int(size * GIB)) for size in sizes_gib]
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.device_count", lambda: len(found))
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: found[device])

    return have
