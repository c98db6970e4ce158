"""What `lab logs` prints."""

import os

import pytest
from labrun.cli import logs
from labrun.errors import LabError

ODD = {
    "directory": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "link to nothing": lambda path: path.symlink_to("/nowhere/stdio.log"),
    "link to itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_lies_in_a_log_s_place_is_named_behind_the_other_logs(make_run, capsys, odd):
    run = make_run()
    (run.path / "stdio-1.log").write_text("of the second machine\n")
    ODD[odd](run.path / "stdio-0.log")
    with pytest.raises(LabError, match=f"^{run.path}/stdio-0.log cannot be read: .*; put it right"):
        logs.show(run, follow=False)
    assert capsys.readouterr().out == "of the second machine\n"


def test_only_what_is_new_is_printed_again(make_run, capsys):
    run = make_run()
    (run.path / "stdio.log").write_text("one\n")
    offsets = {}
    logs._print_new(run, offsets)
    with open(run.path / "stdio.log", "a") as log:
        log.write("two\n")
    logs._print_new(run, offsets)
    assert capsys.readouterr().out == "one\ntwo\n"
