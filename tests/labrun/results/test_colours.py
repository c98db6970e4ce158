"""Colours of runs in MLflow: an arm has one, its seeds have shades of it."""

import sqlite3

import pytest
from labrun.results.store.colours import COLOUR_TAG, colours_of, keep_colours, shade
from labrun.results.store.view import Stored


@pytest.fixture
def stored():
    """Method grpo with seeds 2 and 10, rlrt at two rates with seed 0."""
    params = {
        "plugin": dict.fromkeys("abcd", "rlrt"),
        "method": {"a": "grpo", "b": "grpo", "c": "rlrt", "d": "rlrt"},
        "seed": {"a": "10", "b": "2", "c": "0", "d": "0"},
        "trainer.rate": {"a": "0.1", "b": "0.1", "c": "0.1", "d": "0.2"},
        "trainer.size": {"a": "1", "b": "2", "c": "3", "d": "4"},
    }
    return Stored(frozenset("abcd"), frozenset({"seed", "method", "rate"}), params)


@pytest.fixture
def database():
    made = sqlite3.connect(":memory:")
    made.execute("create table tags (key, value, run_uuid, primary key (key, run_uuid))")
    return made


def kept(database) -> dict[str, str]:
    return dict(database.execute("select run_uuid, value from tags"))


def test_an_arm_has_a_colour_and_each_more_seed_a_lighter_shade(stored):
    assert colours_of(stored) == {
        "b": "#0072b2",
        "a": "#4c9cc9",  # 0.3 of the way to white: of 72 = 114 it is 156 = 9c
        "c": "#d55e00",
        "d": "#009e73",
    }


def test_arms_after_the_sixth_are_darker():
    assert len({shade(arm, 0) for arm in range(20)}) == 20
    assert shade(7, 0) == "#8a3d00"  # 0.65 of d5 = 213, 5e = 94


def test_a_colour_that_somebody_picked_stays(stored, database):
    keep_colours(database, stored)
    assert kept(database) == colours_of(stored)
    words = "update tags set value = ? where run_uuid = ?"
    database.execute(words, ("#123456", "a"))
    database.execute(words, (shade(2, 0), "c"))
    keep_colours(database, stored)
    assert kept(database) == colours_of(stored) | {"a": "#123456"}
    assert database.execute("select distinct key from tags").fetchall() == [(COLOUR_TAG,)]
