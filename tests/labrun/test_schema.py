"""Config dataclasses and what checks plain values against them."""

import os

import pytest
from labrun.schema import NO_PLUGINS, adapter, schema
from pydantic import ValidationError


@schema
class Steps:
    num_steps: int = 3


@pytest.mark.parametrize("said", [None, "logfire"])
def test_an_adapter_leaves_the_variable_of_pydantic_s_plugins_as_it_was(said, monkeypatch):
    monkeypatch.delenv(NO_PLUGINS, raising=False)
    if said is not None:
        monkeypatch.setenv(NO_PLUGINS, said)
    adapter.cache_clear()
    assert adapter(Steps).validate_python({}) == Steps(num_steps=3)
    assert os.environ.get(NO_PLUGINS) == said


def test_an_adapter_refuses_a_key_that_the_class_does_not_have():
    with pytest.raises(ValidationError, match="num_step"):
        adapter(Steps).validate_python({"num_step": 1})
