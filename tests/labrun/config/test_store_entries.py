"""What Hydra reads of its store."""

import pytest
from hydra.core.config_store import ConfigStore
from labrun.config.store_entries import Entry


@pytest.fixture
def store():
    yield ConfigStore.instance()
    ConfigStore.instance().repo.pop("entry.yaml")


def test_an_entry_becomes_a_configuration_once_and_each_reader_has_its_own(store):
    entry = store.repo["entry.yaml"] = Entry("entry", {"rate": 0.5, "inner": {"size": 2}})
    first, second = (store.load("entry.yaml").node for _ in range(2))
    made = entry.node
    first.inner.size = 3
    third = store.load("entry.yaml").node
    assert second == third == {"rate": 0.5, "inner": {"size": 2}}
    assert entry.node is made
    made.rate = 0.25
    assert store.load("entry.yaml").node.rate == 0.25
