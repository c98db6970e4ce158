"""How the study of baselines chooses its rates, and what it runs again."""

import json
from dataclasses import replace

import rlrt_fair_study as study
from labrun import Score
from labrun.config.experiments import compose
from labrun.runs import run_dir


def test_a_rate_at_an_end_brings_the_next_one_past_it(monkeypatch):
    # the best rate of one method lies inside, of another two past the lower end
    accuracies = {
        "grpo": {5e-5: 0.1, 1.5e-4: 0.3, 5e-4: 0.2, 1.5e-3: 0.0},
        "rlsd": {5e-6: 0.7, 1.5e-5: 0.9, 5e-5: 0.8, 1.5e-4: 0.3, 5e-4: 0.2, 1.5e-3: 0.0},
        "sdpo": {5e-5: 0.1, 1.5e-4: 0.2, 5e-4: 0.3, 1.5e-3: 0.4, 5e-3: 0.5, 1.5e-2: 0.6},
    }
    run = []
    monkeypatch.setattr(study, "finish", lambda _, points, *words, dry: run.append(points) or True)
    monkeypatch.setattr(study, "scores", lambda _, method: accuracies[method])
    found = study.tune(accuracies, dry=False)
    # nothing lies past 1.5e-2
    assert found == {"grpo": "1.5e-4", "rlsd": "1.5e-5", "sdpo": "1.5e-2"}
    assert len(run[0]) == 3 * 4 * 3
    assert {(m, float(r)) for m, r, _ in run[-1]} == {
        (method, rate) for method, rates in accuracies.items() for rate in rates
    }


def test_points_become_as_few_commands_as_their_product_allows():
    tuned = [(m, r, s) for m in ("grpo", "rlrt") for r in study.RATES for s in study.TUNING_SEEDS]
    sweeps = study.sweeps([*tuned, ("sdpo", "5e-3", "100")])
    rates = ",".join(study.RATES)
    assert sweeps == [
        ("method=grpo,rlrt", f"learning_rate={rates}", "seed=100,101,102"),
        ("method=sdpo", "learning_rate=5e-3", "seed=100"),
    ]


def test_a_run_that_the_record_has_is_not_run_again_on_another_machine(tmp_path, monkeypatch, home):
    record = tmp_path / "record.csv"
    record.write_text(
        "group,method,learning_rate,seed,state,commit,task,metric,value\n"
        "fair-tune,grpo,0.0005,100,done,c0,in_domain,accuracy,0.5\n"
        "fair-tune,grpo,0.0005,100,done,c0,in_domain,epistemic_words,2\n"
        "fair-tune,grpo,0.0005,101,diverged,c0,,,\n"
        "fair-study,grpo,0.0005,102,done,c0,in_domain,accuracy,1\n"
    )
    monkeypatch.setattr(study, "RECORD", replace(study.RECORD, path=record))
    points = [("grpo", "5e-4", seed) for seed in study.TUNING_SEEDS]
    assert study.remaining("fair-tune", points) == ([("grpo", "5e-4", "102")], [])
    # a diverged run scores 0
    assert study.scores("fair-tune", "grpo") == {5e-4: 0.25}


def test_the_record_keeps_the_last_scores_of_runs_that_have_ended(tmp_path, monkeypatch, home):
    record = replace(study.RECORD, path=tmp_path / "record.csv")
    for seed, state in enumerate(("done", "running", "diverged")):
        words = ("plugin=rlrt", "method=rlsd", "learning_rate=5e-4", f"seed={seed}")
        run = run_dir.create(compose([*words, "group=fair-tune"]), root=home)
        (run.path / "provenance.json").write_text('{"git_commit": "c0"}')
        if state != "diverged":
            scores = [Score("in_domain", "accuracy", value, 3) for value in (0.25, 1 / 3)]
            events = [
                {"time": 1.0, "kind": "score", "step": step, "score": score.to_event()}
                for step, score in zip((80, 160), scores, strict=True)
            ]
            (run.path / "events.jsonl").write_text("".join(f"{json.dumps(e)}\n" for e in events))
        run.write_status(state=state, host="elsewhere")
    for _ in range(2):  # what is kept is not kept twice
        record.keep(study.GROUPS)
    header, *rows = record.path.read_text().splitlines()
    assert header == "group,method,learning_rate,seed,state,commit,task,metric,value"
    assert rows == [
        "fair-tune,rlsd,0.0005,0,done,c0,in_domain,accuracy,0.333333",
        "fair-tune,rlsd,0.0005,2,diverged,c0,,,",
    ]
    left, stopped = record.remaining(
        "fair-tune", [("rlsd", "0.0005", "0"), ("rlsd", "0.0005", "3")]
    )
    assert left == [("rlsd", "0.0005", "3")]
    assert [run_dir.RunDir(home / name).experiment().run.seed for name in stopped] == [1]
