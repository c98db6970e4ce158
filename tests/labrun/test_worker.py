"""What a worker does around the parts of a run."""

import json
import sys

import pytest
from labrun import worker
from labrun.config.experiments import compose
from labrun.plugins import discovery
from labrun.runs import run_dir
from labrun.system import processes
from small_plugin import write

COUNTS = "ctx.progress(step=32, total=32, stage='make data')\n        return [1.0]"
SEES = "ctx.write_text('said.json', __import__('json').dumps(ctx.run.progress()))"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    parts = "lab_mine/parts.py"
    loads = (parts, "return [1.0]", COUNTS)
    scores = (parts, "return []\n\n\ndef draw", f"{SEES}\n        return []\n\n\ndef draw")
    monkeypatch.syspath_prepend(str(write(tmp_path / "mine", (loads, scores))))
    yield
    discovery.load.cache_clear()
    for name in [name for name in sys.modules if name.startswith("lab_mine")]:
        del sys.modules[name]


@pytest.mark.usefixtures("mine")
def test_steps_of_making_data_are_not_said_to_be_of_the_training(home, monkeypatch):
    monkeypatch.setattr(processes, "STOPS", ())  # the handlers of this process stay
    run = run_dir.create(compose(["plugin=mine"]), root=home)
    assert worker.main([str(run.path)]) == 0
    said = json.loads((run.artifacts / "said.json").read_text())
    assert said["stage"] == "evaluate"
    assert "total" not in said
