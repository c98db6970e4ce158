"""One run of RLRT on two nodes, by gloo."""

import os
from pathlib import Path

import pytest
import torch
import warm
from rank_cases import SMALL, create, words

SUPPORT = Path(warm.__file__).parent
SHORT = [word for word in SMALL if not word.startswith(("max_steps=", "evaluate_every="))]
SHORT += ["max_steps=2", "evaluate_every=0"]
PATCH = "import os\nif 'RANK' in os.environ:\n    import rank_worker\n    rank_worker.patch()\n"


@pytest.fixture
def patched(tmp_path, monkeypatch, example):
    """The ranks of jobs draw their rollouts by place alone; the last one stands still at step 2."""
    (tmp_path / "sitecustomize.py").write_text(PATCH)
    out = tmp_path / "out"
    out.mkdir()
    search = [str(tmp_path), str(SUPPORT), os.environ["PYTHONPATH"]]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(search))
    monkeypatch.setenv("RANK_OUT", str(out))
    monkeypatch.setenv("RANK_HOLD_AT", "2")
    return out


def moments(run, step):
    path = run.checkpoints / f"{step:08d}" / f"checkpoint-{step}" / "optimizer.pt"
    states = torch.load(path, weights_only=True)["state"]
    return torch.cat([state["exp_avg"].flatten() for state in states.values()])


def test_two_nodes_have_the_gradient_of_one_process_and_a_lost_node_ends_no_run(
    patched, cluster, submit, state_is, until, tmp_path, monkeypatch
):
    (run,) = submit(*SHORT, "resources.num_nodes=2")
    monkeypatch.delenv("RANK_OUT")
    alone = create(tmp_path / "alone", "max_steps=1")
    assert warm.run(words(alone)[1:]) == 0
    until((patched / "held").exists, "the ranks have met")
    cluster.kill_node("n2")
    until(lambda: cluster.num_nodes("down") == 1)
    cluster.start_node("n2")
    state_is(run, "done")
    begun = [event["resumed_from"] for event in run.events() if event["kind"] == "attempt"]
    # the node that is left tries again at once, and SLURM may see the loss only after that
    assert begun in ([None, 1], [None, 1, 1])
    # Adam's first moment after one step is 0.1 times the clipped gradient
    one, two = moments(alone, 1), moments(run, 1)
    assert one.abs().max() > 1e-3
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-7)
    assert sorted(path.name for path in patched.glob("2-*.pt")) == ["2-0.pt", "2-1.pt"]
    assert run.series()["loss"].keys() == {1, 2}
