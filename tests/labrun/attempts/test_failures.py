"""Which failures are tried again."""

import json
import re
import ssl

import pytest
from jinja2 import TemplateSyntaxError
from labrun.attempts import causes, failures

AGAIN = [
    OSError("disk"),
    TimeoutError("net"),
    ConnectionResetError(),
    ssl.SSLCertVerificationError("both an OSError and a ValueError"),
    MemoryError(),
    ExceptionGroup("of two tasks", [MemoryError(), ValueError("a")]),
    RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("NCCL"),
    type("OutOfMemoryError", (RuntimeError,), {})("x"),
    type("RequestsError", (Exception,), {"__module__": "requests.exceptions"})("x"),
]
NEVER = [
    TypeError("a"),
    ValueError("a"),
    json.JSONDecodeError("a", "b", 0),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "a"),
    KeyError("a"),
    IndexError("a"),
    AttributeError("a"),
    ZeroDivisionError("a"),
    OverflowError("a"),
    AssertionError("a"),
    ImportError("a"),
    ModuleNotFoundError("a"),
    NotImplementedError("a"),
    NameError("a"),
    RecursionError("a"),
    SyntaxError("a"),
    SystemExit(0),
    re.error("a"),
    TemplateSyntaxError("a", 1),
]


def kept(run, error, attempt=0):
    failures.record(run, error, attempt=attempt)
    return failures.of(run, attempt=attempt)


@pytest.mark.parametrize("error", AGAIN, ids=lambda e: type(e).__name__)
def test_what_may_pass_is_tried_again(make_run, error):
    assert not kept(make_run(), error).comes_again(None)


@pytest.mark.parametrize("error", NEVER, ids=lambda e: type(e).__name__)
def test_errors_of_the_code_are_not(make_run, error):
    assert kept(make_run(), error).comes_again(None)


def test_the_same_error_at_the_same_step_is_not_tried_a_third_time(make_run):
    run = make_run()
    run.write_status(step=4)
    first = kept(run, RuntimeError("odd"))
    assert kept(run, RuntimeError("odd"), attempt=1).comes_again(first)
    assert not kept(run, RuntimeError("other"), attempt=1).comes_again(first)
    run.write_status(step=5)
    assert not kept(run, RuntimeError("odd"), attempt=1).comes_again(first)


def test_the_machine_s_errors_are_tried_again_even_where_they_are_equal(make_run):
    run = make_run()
    first = kept(run, OSError("no space left"))
    assert not kept(run, OSError("no space left"), attempt=1).comes_again(first)


def test_an_attempt_that_said_nothing_has_no_failure(make_run):
    run = make_run()
    assert failures.of(run, attempt=0) is None
    kept(run, ValueError("a"))
    assert failures.of(run, attempt=1) is None
    (run.path / ".failure.json").write_text("{")
    assert failures.of(run, attempt=0) is None


class MuteError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_an_error_without_words_is_named_by_its_kind(make_run):
    run = make_run()
    message = causes.failure(MuteError(), run).message
    assert message == "MuteError: its text cannot be had: ZeroDivisionError"
    assert kept(run, MuteError()).kind == "MuteError"


def test_memory_and_disk_are_found_in_groups_and_causes(make_run):
    run = make_run()
    full = ExceptionGroup("of two tasks", [ValueError("a"), OSError(28, "No space left on device")])
    assert causes.failure(full, run).message.startswith("No space left on device; make room")
    short = RuntimeError("a step failed")
    short.__cause__ = MemoryError()
    assert causes.failure(short, run).message.startswith("out of memory; peak ")
