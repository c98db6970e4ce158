"""Packed series are the series."""

import pickle

from labrun.runs.packed import PackedSeries

SERIES = {"loss": {1: 0.5, 2: 0.25}, "num_tokens": {2: 7}}


def test_packed_series_are_equal_to_the_series_also_behind_a_pipe():
    packed = pickle.loads(pickle.dumps(PackedSeries.of(SERIES)))
    assert packed == SERIES
    assert list(packed) == ["loss", "num_tokens"]
    assert type(packed["num_tokens"][2]) is int


def test_a_metric_is_there_by_its_name_without_being_unpacked():
    packed = PackedSeries({"loss": b"nothing that can be unpacked"})
    assert "loss" in packed
    assert "reward" not in packed
    assert packed.get("reward", {}) == {}
