"""What a trainer or an evaluator is told when it is planned beside a dataset."""

from typing import Any

from labrun import Dataset, Setup


def setup_of(dataset: Dataset, **known: Any) -> Setup:
    """The setup after the dataset was planned, with what is known besides."""
    setup = Setup(dataset=dataset)
    plan = dataset.plan(setup) if hasattr(dataset, "plan") else None
    return Setup(dataset=dataset, data=plan and plan.offers, **known)
