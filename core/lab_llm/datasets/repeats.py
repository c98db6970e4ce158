"""Training questions that come again, among themselves or in an evaluation set."""

import hashlib
from collections.abc import Iterable, Mapping

Asked = Iterable[tuple[str, str]]
"""(id, question) of every problem of a set."""


def describe_repeats(train: Asked, evaluation: Mapping[str, Asked]) -> list[str]:
    """A sentence with count and first example for training rows that ask what an earlier one
    does, and one for each evaluation set that asks what training rows do."""
    first: dict[bytes, str] = {}
    again: list[str] = []
    every = [(name, _digest(question)) for name, question in train]
    for name, question in every:
        if question in first:
            again.append(f"{name} (as {first[question]})")
        first.setdefault(question, name)
    sentences = []
    if again:
        sentences.append(
            f"{len(again)} of {len(every)} training rows ask what an earlier row asks, "
            f"first {again[0]}; dataset.unique=true drops them"
        )
    for set_name, problems in evaluation.items():
        scored: dict[bytes, str] = {}
        for name, question in problems:
            scored.setdefault(_digest(question), name)
        both = [f"{name} (as {scored[question]})" for name, question in every if question in scored]
        if both:
            sentences.append(
                f"{len(both)} of {len(every)} training rows are also in the evaluation set "
                f"{set_name!r}, first {both[0]}; its scores are of problems that are trained on"
            )
    return sentences


def _digest(question: str) -> bytes:
    return hashlib.blake2b(question.encode(), digest_size=16).digest()
