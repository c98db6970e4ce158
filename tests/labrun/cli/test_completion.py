"""What TAB offers: by value, and in real shells."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from labrun.cli import completion, shells
from labrun.cli.app import app
from labrun.errors import LabError

PATIENCE_S = 120.0
SHOW = "\x18g"
"""Keys that are bound to `show_line`."""
SHOW_LINE = r"""
setopt no_beep
show_line() { print -rn -- "$BUFFER" > ~/.line && mv ~/.line ~/line; BUFFER="" }
zle -N show_line
bindkey '^Xg' show_line
zle-line-init() { : > ~/line }  # the editor takes keys from now on
zle -N zle-line-init
"""
ROOT = typer.main.get_command(app)


def offered(line: str) -> list[str]:
    return completion.offers(ROOT, line)


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("lab ", ["run", "compare", "runs", "data"]),
        ("lab co", ["compare"]),
        ("lab runs ", ["list", "show", "tag", "diff"]),
        ("lab run --d", ["--dry-run", "--detach"]),
        ("lab run ", ["plugin="]),
        ("lab run plugin=r", ["plugin=rlrt"]),
        ("lab run plugin=rlrt me", ["method="]),
        ("lab run plugin=rlrt method=rlrt_", ["method=rlrt_all"]),
        ("lab run -m plugin=rlrt method=grpo,rlrt_", ["method=grpo,rlrt_all"]),
        ("lab run plugin=rlrt trainer.max_s", ["trainer.max_steps="]),
        ("lab run plugin=rlrt max_s", ["max_steps="]),
        ("lab run plugin=rlrt trai", ["trainer=", "trainer."]),
        ("lab run plugin=rlrt launcher=", ["launcher=local", "launcher=slurm", "launcher=ray"]),
        ("lab run plugin=rlrt slurm.sees_home=t", ["slurm.sees_home=true"]),
        ("lab data make plugin=s", ["plugin=stairs"]),
        ("lab plugins st", ["stairs"]),
        ("lab bench rlrt-m", ["rlrt-main"]),
        ("lab report --suite rlrt-m", ["rlrt-main"]),
        ("lab compare --plugin rl", ["rlrt"]),
    ],
)
def test_it_offers(home, line, some):
    assert set(some) <= set(offered(line))


@pytest.mark.parametrize(
    "line",
    [
        "lab run plugin=rlrt method=rlrt_all method=n",  # no such preset
        "lab run plugin=nobody method=",
        "lab plugins rlrt st",  # one plugin is named
        "lab nothing ",
        "lab run plugin=rlrt learning_rate=",
    ],
)
def test_where_nothing_fits_nothing_is_offered(home, line):
    assert [word for word in offered(line) if not word.endswith("=")] in ([], offered("lab "))


@pytest.mark.parametrize(
    ("line", "all_words"),
    [
        ("lab compare --format ", ["text", "md", "latex", "csv", "json", "marl-eval"]),
        ("lab bench --format ", ["text", "md", "latex", "csv", "json"]),
        ("lab report --interval b", ["both", "bootstrap"]),
        ("lab compare --plot ", ["curves", "pareto", "profile"]),
        ("lab compare --width ", ["column", "page"]),
        ("lab new mine --kind ", ["grpo", "offline", "plain"]),
    ],
)
def test_behind_an_option_its_words_are_offered_and_no_run(home, line, all_words):
    assert offered(line) == all_words


@pytest.mark.parametrize(
    "line", ["lab report -o ", "lab compare --figure ", "lab runs --filter ", "lab compare --out -"]
)
def test_behind_other_options_nothing_is_offered_so_that_the_shell_offers_files(
    make_run, tmp_path, monkeypatch, line
):
    make_run(seed=0)
    monkeypatch.setenv("LABRUN_HOME", str(tmp_path / "home"))
    assert offered(line) == []


def test_a_preset_group_that_is_chosen_is_not_offered_again():
    assert "method=" not in offered("lab run plugin=rlrt method=grpo ")


def test_runs_and_groups_are_offered_newest_first(make_run, tmp_path, monkeypatch):
    first, second = make_run(seed=0, group="a"), make_run(seed=1, group="b")
    monkeypatch.setenv("LABRUN_HOME", str(tmp_path / "home"))
    runs = offered("lab logs ")
    assert runs[0] == "last"
    assert set(runs[1:]) == {first.id, second.id}
    assert offered(f"lab runs diff {first.id} toy-") == [second.id]
    assert set(offered("lab compare --group ")) == {"a", "b"}
    assert set(offered("lab run --from toy-")) == {first.id, second.id}


def test_files_of_words_are_offered(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "study.yml").touch()
    assert offered("lab run @m") == ["@mine.yaml", "@more/"]
    assert offered("lab run @more/") == ["@more/study.yml"]


@pytest.fixture
def shell_home(tmp_path, monkeypatch) -> Path:
    """A user's home, and a `lab` on PATH."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "lab"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m labrun.cli "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def in_bash(line: str) -> list[str]:
    """What bash would put in place of the part behind the last `=` of the line."""
    code = 'source ~/.bashrc; COMP_LINE=$1; COMP_POINT=${#1}; _lab_complete lab; printf "%s\\n" '
    code += '"${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", code, "bash", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes_once_it_is_installed(shell_home, monkeypatch, lab_here):
    monkeypatch.setenv("SHELL", "/bin/bash")
    done = lab_here("--install-completion")
    assert done.returncode == 0, done.stderr
    assert "open a new shell" in done.stdout
    assert in_bash("lab run plugin=r") == ["rlrt"]
    assert in_bash("lab run plugin=rlrt method=rls") == ["rlsd", "rlsd_decay"]
    assert in_bash("lab comp") == ["compare"]
    before = (shell_home / ".bashrc").read_text()
    lab_here("--install-completion")
    assert (shell_home / ".bashrc").read_text() == before


def test_bash_offers_files_where_lab_has_nothing(shell_home):
    shells.install("bash", user=shell_home)
    code = "source ~/.bashrc; complete -p lab"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "complete -o bashdefault -o default -F _lab_complete lab\n"


def test_a_shell_named_behind_the_option_is_refused(shell_home, lab_here):
    done = lab_here("--install-completion", "fish")
    assert done.returncode == 2
    assert "takes no word, got 'fish'; it is for the shell that SHELL names" in done.stderr
    assert not (shell_home / ".bashrc").exists()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_completes_at_a_terminal(shell_home):
    shells.install("zsh", user=shell_home)
    with zsh_at_a_terminal(shell_home) as typed:
        assert typed("lab run plugin=r\t") == "lab run plugin=rlrt "
        assert typed("lab run plugin=rlrt method=foll\t") == "lab run plugin=rlrt method=following "
        assert typed("lab comp\t") == "lab compare "
        assert typed("lab run plugin=rlrt trainer.max_s\t") == (
            "lab run plugin=rlrt trainer.max_steps="
        ), "a value follows, so no space"
        assert typed("lab run plugin=nobody\t") == "lab run plugin=nobody"
        assert typed("lab data show ~/bi\t") == "lab data show ~/bin/", "files where lab has none"
        assert typed(f"lab run plugin=rlrt dataset.path={shell_home}/bi\t") == (
            f"lab run plugin=rlrt dataset.path={shell_home}/bin/"
        )


@contextmanager
def zsh_at_a_terminal(user: Path) -> Iterator[Callable[[str], str]]:
    """`typed(keys)`: the line that zsh's editor holds once it has dealt with all keys.

    A key of the test's own writes the line to a file and empties it. Keys are dealt with in order,
    so that nothing has to be waited for but that file.
    """
    line = user / "line"
    start = user / ".zshrc"
    start.write_text(f"autoload -Uz compinit && compinit -u\n{start.read_text()}{SHOW_LINE}")
    master, slave = pty.openpty()
    variables = os.environ | {"TERM": "xterm", "COLUMNS": "200", "ZDOTDIR": str(user)}
    with subprocess.Popen(
        ["zsh", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=variables,
        start_new_session=True,
    ) as shell:
        os.close(slave)

        def typed(keys: str) -> str:
            os.write(master, keys.encode())
            until = time.monotonic() + PATIENCE_S
            while not line.exists():
                assert time.monotonic() < until, "zsh has not dealt with the keys"
                if select.select([master], [], [], 0.05)[0]:
                    os.read(master, 65536)  # what it draws; unread, it would block
            held = line.read_text()
            line.unlink()
            return held

        try:
            typed("")
            yield lambda keys: typed(f"{keys}{SHOW}")
        finally:
            shell.kill()
            os.close(master)


def test_another_shell_is_refused(tmp_path):
    with pytest.raises(LabError, match="no shell 'fish'; allowed: bash, zsh"):
        shells.install("fish", user=tmp_path)
    with pytest.raises(LabError, match="SHELL is not set; say which it is: SHELL=bash lab "):
        shells.install("", user=tmp_path)
