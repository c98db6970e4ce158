"""Messages for a name that is not there: its nearest neighbour, and never a long list."""

import re

from labrun.errors import MOST_NAMES, listed, unknown

MANY = [f"task_{number}" for number in range(40)]


def test_a_few_names_are_all_listed_in_order():
    said = str(unknown("plugin", "rlr", ["stairs", "rlrt"]))
    assert said == "no plugin 'rlr'; did you mean 'rlrt'? installed: rlrt, stairs"


def test_of_many_names_ten_are_listed_and_the_nearest_comes_first():
    said = str(unknown("task", "tusk_17", MANY))
    start = "no task 'tusk_17'; did you mean 'task_17'? allowed: task_17, "
    assert said.startswith(start)
    assert said.endswith(f" ({MOST_NAMES} of 40)")
    assert len(re.findall(r"task_\d+", said.partition("allowed: ")[2])) == MOST_NAMES


def test_a_name_like_no_other_lists_ten_without_a_guess():
    said = str(unknown("task", "zzz", MANY))
    assert said.startswith("no task 'zzz'; allowed: task_0, ")
    assert said.count("task_") == MOST_NAMES


def test_no_names_are_none():
    assert str(unknown("task", "a", [])) == "no task 'a'; allowed: none"
    assert listed([]) == "none"
