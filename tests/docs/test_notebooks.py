"""The notebooks of the documentation run from top to bottom."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
EXAMPLE = """
plugin = "example"
methods = "plain,momentum"
seeds = "0,1"
options = ["max_steps=4"]
series = "loss"
score = "held_out/mse"
"""
"""The notebook's settings for a plugin without torch: seconds, not minutes."""


def text_of(cell) -> str:
    return "".join(out.get("data", {}).get("text/html", "") for out in cell.outputs)


def test_the_first_comparison_runs_and_shows_its_table_and_figure(home, example):
    notebook = nbformat.read(FOLDER / "first_comparison.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code[0].metadata["tags"] == ["parameters"]
    assert all(line in code[0].source for line in ('plugin = "stairs"', "score = "))
    code[0].source = EXAMPLE
    NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
    shown = [text_of(cell) for cell in code]
    assert shown[1].count("<td>done</td>") == 4
    assert [c in shown[4] for c in ("<th>start</th>", "<th>momentum</th>", "<th>plain</th>")] == [
        True
    ] * 3
    assert "image/png" in code[5].outputs[0].data
    assert shown[7].count("<td>done</td>") == 2
