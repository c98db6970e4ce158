import json

from labrun.results.page.provenance import facts
from labrun.runs.record import records


def test_equal_facts_stand_once_and_others_with_their_runs(language_run):
    runs = [language_run(seed=seed) for seed in (0, 1, 2)]
    for run, host in zip(runs, ("a", "a", "b"), strict=True):
        said = {
            "repositories": [
                {
                    "distributions": ["labrun"],
                    "commit": "abc123",
                    "changed": True,
                    "diff": "code.diff",
                    "untracked": ["x.py"],
                }
            ],
            "python": "3.11.7 (main)",
            "packages": {"labrun": "0.1.0", "numpy": "2.4.6", "strange": "1"},
            "host": host,
            "platform": "Linux",
            "cpu_count": 2,
            "memory_gib": 8.0,
        }
        (run.path / "provenance.json").write_text(json.dumps(said))
        (run.path / "data.json").write_text('{"fingerprint": "f00d"}')
    found = {fact.name: fact.values for fact in facts(records(runs))}
    code = (
        "labrun at commit abc123, with uncommitted changes (code.diff of the run has them), "
        "1 untracked code file"
    )
    assert found["code"] == [(code, "")]
    assert found["packages"] == [("Python 3.11.7, labrun 0.1.0, numpy 2.4.6", "")]
    assert found["machine"] == [
        ("a: Linux, 2 CPUs, 8.0 GiB", "2 runs"),
        ("b: Linux, 2 CPUs, 8.0 GiB", "1 run"),
    ]
    assert found["data (sha256)"] == [("f00d", "")]


def test_what_was_not_recorded_or_is_damaged_is_said(language_run):
    run = language_run()
    (run.path / "provenance.json").write_text("{")
    (run.path / "data.json").write_text("{")
    found = {fact.name: fact.values for fact in facts(records([run]))}
    assert found["code"] == [("not recorded", "")]
    assert found["data (sha256)"] == [("damaged", "")]
