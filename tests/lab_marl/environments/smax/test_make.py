"""Making SMAX battles: what is refused, and that nothing starts before it is played."""

import pytest
from lab_marl.environments import make, smax
from labrun.errors import LabError


def test_without_the_extra_a_task_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(smax, "find_spec", lambda package: None)
    with pytest.raises(LabError) as caught:
        make("smax-3m", 1)
    assert str(caught.value) == (
        "task 'smax-3m' needs jaxmarl, which is not installed; run: pip install 'labrun[smax]'; "
        "rollout.episodes=0 trains on the files of dataset.path without it"
    )


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(smax, "find_spec", lambda package: package)
    monkeypatch.setattr(smax, "version", lambda package: "0.0.7")
    with pytest.raises(LabError, match=r"needs jaxmarl 0\.2\.x, got 0\.0\.7; run: pip install"):
        make("smax-3m", 1)


def test_no_process_starts_before_the_first_episode(monkeypatch):
    monkeypatch.setattr(smax, "find_spec", lambda package: package)
    monkeypatch.setattr(smax, "version", lambda package: "0.2.0")
    env = make("smax-3m", 4)
    assert (env.num_envs, env.layout.num_agents) == (4, 3)
    assert env.process._process is None
