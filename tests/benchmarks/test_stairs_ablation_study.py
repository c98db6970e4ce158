"""Which ablations go on to the next look, from the record of a look."""

import sys
from dataclasses import replace

import pytest
import stairs_ablation_study as study
import study_record
from labrun.config.experiments import compose, expand
from labrun.runs import run_dir

HEADER = "group,method,seed,state,commit,task,metric,value"
RATES = {
    "stairs": (0.8, 0.9, 0.7, 0.8, 0.6),
    "no_spatial": (0.5, 0.7, 0.3, 0.5, 0.4),  # less by .3, .2, .4, .3, .2
    "no_temporal": (0.8, 0.8, 0.8, 0.8, 0.6),  # less by 0, .1, -.1, 0, 0
    "no_dropout": (0.7, 0.8, 0.6, 0.7),  # a seed is missing
}


@pytest.fixture
def record(tmp_path, monkeypatch, home):
    """The first look: of each run two tasks, .1 above and below its rate, and their means."""
    lines = [HEADER]
    for method, rates in RATES.items():
        for seed, rate in enumerate(rates):
            for task, value in (("a", rate + 0.1), ("b", rate - 0.1), ("seen", 9), ("unseen", 9)):
                start = f"ablations-400,{method},{seed},done,c0,{task}"
                lines += [f"{start},win_rate,{value}", f"{start},return,7"]
    path = tmp_path / "record.csv"
    path.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(study, "RECORD", replace(study.RECORD, path=path))


@pytest.mark.usefixtures("record")
def test_an_ablation_is_decided_by_all_seeds_whose_interval_excludes_0():
    assert study.gaps("no_spatial", 400) == pytest.approx([0.3, 0.2, 0.4, 0.3, 0.2])
    assert study.decided("no_spatial", 400)
    assert not study.decided("no_temporal", 400)
    assert not study.decided("no_dropout", 400)  # all four differ by .1, but one is missing
    assert study.open_at(400) == list(study.ABLATIONS)
    assert study.open_at(1600) == study.open_at(8000) == ["no_temporal", "no_dropout"]


@pytest.mark.usefixtures("record")
def test_the_table_pairs_by_seed():
    header, *lines = study.table(400)
    assert header == "400 updates"
    assert lines[0].split() == ["stairs", "0.760", "±", "0.142"]  # t(4) = 2.776, s = .114
    # less it: mean .28, s = .0837; t = .28 / (.0837 / sqrt 5) = 7.48
    assert "STAIRS less it +0.280 ± 0.104  p 0.002  seeds 5" in lines[1]
    assert study.table(1600) == ["1,600 updates"]


@pytest.mark.usefixtures("record")
def test_a_look_is_finished_before_the_next_one_begins(monkeypatch):
    commands = []
    monkeypatch.setattr(study_record, "lab", lambda *words: commands.append(words))
    monkeypatch.setattr(sys, "argv", ["study"])
    with pytest.raises(SystemExit, match="ablations-400: 1 runs did not end"):
        study.main()
    assert [words[2:5] for words in commands] == [
        ("method=no_dropout", "seed=4", "group=ablations-400")
    ]
    assert commands[0][-1] == "max_steps=400"


def test_a_longer_run_goes_on_from_the_shorter_one_of_its_seed(tmp_path, monkeypatch, home):
    commands = []
    monkeypatch.setattr(study_record, "lab", lambda *words: commands.append(words))
    record = replace(study.RECORD, path=tmp_path / "record.csv")
    ids = {}
    for seed, state in (("0", "done"), ("1", "diverged")):
        words = [*study.WORDS, f"seed={seed}", "max_steps=400", "group=ablations-400"]
        run = run_dir.create(compose(words), root=home)
        run.write_status(state=state, host="here")
        (run.path / "provenance.json").write_text('{"git_commit": "c0"}')
        ids[seed] = run.id
    keys = [("stairs", "0"), ("no_spatial", "0"), ("stairs", "1")]
    words = ["plugin=stairs", "max_steps=1600"]
    with pytest.raises(SystemExit, match="longer: 3 runs did not end"):
        record.finish("longer", keys, words, dry=False, shorter="ablations-400")
    assert commands == [
        ("run", "--from", ids["0"], "group=longer", "max_steps=1600"),
        ("run", "-m", "method=no_spatial", "seed=0", "group=longer", *words),
        ("run", "-m", "method=stairs", "seed=1", "group=longer", *words),
    ]


def test_every_arm_composes():
    for arm in expand([f"method={','.join((study.WHOLE, *study.ABLATIONS))}", *study.WORDS]):
        assert compose(arm).settings["trainer"]["batch_size"] == 16
