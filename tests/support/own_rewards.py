"""Rewards as a user may write them, right and wrong."""

import os

LIMIT = 3


def ends_with(completion: str, answer: str) -> float:
    return float(completion.endswith(answer))


def share_of_words(*, completion: str, prompt: str, solution: str | None = None) -> float:
    """Half a reward for naming the prompt, the other half for the solution."""
    return 0.5 * (prompt in completion) + 0.5 * (solution is not None and solution in completion)


def too_much(completion: str) -> float:
    return 2.0


def raising(completion: str) -> float:
    raise ValueError(f"cannot read {completion!r}")


def raising_later(completion: str) -> float:
    return 1.0 / (0.0 if completion == "bad" else 1.0)


def of_text(completion: str) -> str:
    return "1.0"


def of_none(completion: str) -> None: ...


def not_finite(completion: str) -> float:
    return float("nan")


def leaving(completion: str) -> float:
    raise SystemExit(0)


def speechless(completion: str) -> float:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise ValueError

    raise SilentError


def ending(completion: str) -> float:
    os._exit(0)


def by_position(completion: str, /) -> float:
    return 1.0


def of_rows(completion: str, row: dict[str, object]) -> float:
    return float(bool(row))


def of_nothing(answer: str) -> float:
    return float(bool(answer))


async def later(completion: str) -> float:
    return 1.0
