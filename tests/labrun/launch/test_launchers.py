"""Launchers by their names."""

import sys

import pytest
from labrun.errors import LabError
from labrun.launch import launchers


def test_a_launcher_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in [name for name in sys.modules if name.startswith("labrun.launch.ray")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(LabError) as refused:
        launchers.of("ray")
    assert str(refused.value).startswith("launcher=ray: ray")
    assert str(refused.value).endswith("is not installed; pip install 'labrun[ray]'")
