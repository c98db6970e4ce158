"""How the study of baselines chooses its rates."""

import rlrt_fair_study as study


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
