"""What the long study of STAIRS runs, and the tables that it prints from its record."""

import sys
from dataclasses import replace

import pytest
import stairs_long_study as study
import study_record
from labrun.config.experiments import compose, expand

HEADER = "group,method,seed,state,commit,task,metric,value"
RATES = {"stairs": (0.8, 0.9, 0.7), "bc_t": (0.5, 0.7, 0.3), "updet_m": (0.8, 0.9, 0.7)}
RATES["odis"] = (0.0, 0.1, 0.2)


@pytest.fixture
def record(tmp_path, monkeypatch, home):
    """Three seeds of one part; of each run a seen task, an unseen one and their means."""
    lines = [HEADER]
    for method, rates in RATES.items():
        for seed, rate in enumerate(rates):
            for task, value in (("cn-2", rate), ("cn-3", rate / 2), ("seen", 9), ("unseen", 9)):
                start = f"long-grid-expert,{method},{seed},done,c0,{task}"
                lines += [f"{start},win_rate,{value}", f"{start},return,7"]
    lines.append("long-grid-expert,stairs,3,done,c0,cn-2,win_rate,0.1")  # a seed of one method
    path = tmp_path / "record.csv"
    path.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(study, "RECORD", replace(study.RECORD, path=path))


@pytest.mark.usefixtures("record")
def test_only_seeds_that_every_method_has_are_compared():
    assert study.complete("grid-expert") == ["0", "1", "2"]
    assert study.complete("grid-medium") == []
    assert study.table("grid-medium") == ["grid-medium: seeds "]


@pytest.mark.usefixtures("record")
def test_scores_are_those_of_the_tasks_apart():
    assert study.scores("grid-expert", "bc_t", "seen")[:, 0].tolist() == [0.5, 0.7, 0.3]
    assert study.scores("grid-expert", "bc_t", "unseen")[:, 0].tolist() == [0.25, 0.35, 0.15]


@pytest.mark.usefixtures("record")
def test_the_table_pairs_by_seed_and_corrects_for_three_comparisons():
    lines = {line.split()[0]: line for line in study.table("grid-expert")[2:6]}
    # STAIRS less BC-t: .3, .2, .4; t(2) = 4.303, s = .1; p = 2 P(T > sqrt(3) * 3) = .0351
    assert "mean 0.500 ± 0.497" in lines["bc_t"]
    assert "STAIRS less it +0.300 ± 0.248" in lines["bc_t"]
    assert "p (Holm) 0.070" in lines["bc_t"]
    assert "P(STAIRS better) 0.94 " in lines["bc_t"]  # 8.5 of 9 pairs
    assert "P(STAIRS better) 0.50 " in lines["updet_m"]
    assert "STAIRS less it +0.000 ± 0.000" in lines["updet_m"]


@pytest.mark.usefixtures("record")
def test_a_seed_is_run_for_the_methods_that_lack_it(monkeypatch):
    commands = []
    monkeypatch.setattr(study_record, "lab", lambda *words: commands.append(words))
    monkeypatch.setattr(sys, "argv", ["study", "--parts", "grid-expert", "--data", "/data"])
    with pytest.raises(SystemExit, match="long-grid-expert: 7 runs did not end"):
        study.main()
    assert [words[2:5] for words in commands] == [
        ("method=bc_t,updet_m,odis", "seed=3", "group=long-grid-expert"),
        ("method=stairs,bc_t,updet_m,odis", "seed=4", "group=long-grid-expert"),
    ]
    assert {words[-1] for words in commands} == {"dataset.path=/data"}


@pytest.mark.parametrize("part", study.PARTS)
def test_every_part_composes_for_every_method(part):
    words = study.words(part, None)
    words = [word for word in words if not word.startswith("dataset.path=")]
    for arm in expand([f"method={','.join(study.METHODS)}", "seed=0,1", *words]):
        experiment = compose(arm)
        assert experiment.settings["trainer"]["max_steps"] >= 400
