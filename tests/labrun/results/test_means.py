"""Means over tasks that are not the same tasks in every run."""

from labrun.results.comparison import comparison_of, mixed


def test_means_over_other_tasks_are_neither_in_the_table_nor_tested(make_run, event):
    runs = [
        make_run(
            event.score(3, value, "win_rate", "cn-2"),
            event.score(3, value, "win_rate", "seen", over=over),
            event.score(3, value, "win_rate", "unseen", over=["cn-3"]),
            seed=seed,
            method=method,
        )
        for seed in (0, 1)
        for method, value, over in (
            ("stairs", 0.5 + seed / 8, ["cn-2", "cn-4"]),
            ("bc_t", 0.25, ["cn-2"]),
        )
    ]
    found = comparison_of(runs, baseline="bc_t")
    assert [task for task, _ in found.table.rows] == ["cn-2", "unseen"]
    assert [one.task for one in found.against] == ["cn-2", "unseen"]
    assert mixed(found.arms) == [
        "left out: seen is a mean over other tasks in some runs than in others: cn-2; cn-2, cn-4"
    ]
