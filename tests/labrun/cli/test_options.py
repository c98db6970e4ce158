"""The console that every command prints on."""

from labrun.cli.options import console
from rich.table import Table


def test_a_row_stays_one_line_in_a_pipe(monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table("task", "metric", "difference")
    table.add_row("t" * 50, "m" * 60, "0.023 ± 0.109")
    console().print(table)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "ttt" in line]
    assert "m" * 60 in row
    assert "0.023 ± 0.109" in row


def test_the_user_s_width_counts_in_a_pipe_too(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert console().width == 60
