"""What a user says of a run is kept whole, and never touches the run."""

import json
import threading
from functools import partial

import pytest
from labrun.errors import LabError
from labrun.runs import notes, run_index
from labrun.runs.notes import Notes
from labrun.runs.seals import DamagedError


def test_a_run_without_the_file_has_no_notes(tmp_path):
    assert notes.read(tmp_path) == Notes(name="", tags=(), note="", archived=False)


def test_tags_keep_their_order_and_stand_once(tmp_path):
    notes.tag(tmp_path, add=["b", "a", "b"])
    assert notes.tag(tmp_path, add=["a", "c"], drop=["b"]).tags == ("a", "c")
    assert json.loads((tmp_path / "notes.json").read_text()) == {
        "name": "",
        "tags": ["a", "c"],
        "note": "",
        "archived": False,
    }


def test_a_change_leaves_the_other_fields(tmp_path):
    notes.tag(tmp_path, add=["a"])
    notes.change(tmp_path, note="x\ny")
    assert notes.change(tmp_path, archived=True) == Notes("", ("a",), "x\ny", True)


def test_changes_of_several_commands_at_once_are_all_kept(tmp_path):
    names = [f"t{number}" for number in range(20)]
    add = [partial(notes.tag, tmp_path, add=[name]) for name in names]
    threads = [threading.Thread(target=call) for call in add]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(notes.read(tmp_path).tags) == sorted(names)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[]", "it holds no JSON object"),
        ("{", "cannot be read"),
        ('{"tags": "a"}', "tags is 'a'"),
        ('{"tags": [1]}', "a tag is 1"),
        ('{"archived": "yes"}', "archived is 'yes'"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, text, fault):
    (tmp_path / "notes.json").write_text(text)
    with pytest.raises(DamagedError, match=r"notes\.json") as told:
        notes.read(tmp_path)
    assert fault in str(told.value)
    assert str(told.value).endswith("; remove it")
    assert notes.known(tmp_path) == Notes()
    with pytest.raises(DamagedError):
        notes.tag(tmp_path, add=["a"])


@pytest.mark.parametrize("text", ["", "a b", "a,b", "+a", "-a", "a'", "\ud800", "x" * 201])
def test_a_word_that_a_filter_could_not_name_is_no_tag(text):
    with pytest.raises(LabError, match="no tag"):
        notes.check_tag(text)


@pytest.mark.parametrize("text", ["last", "a/b", ".a", "-a", " a", "a ", "a\nb", "\ud800"])
def test_a_word_that_means_something_else_is_no_name(text):
    with pytest.raises(LabError, match="no name"):
        notes.check_name(text)


def test_the_index_sees_notes_at_once(make_run):
    runs = [make_run(seed=seed) for seed in range(17)]
    home = runs[0].path.parent
    assert run_index.entries(home)[3].notes == Notes()
    notes.change(runs[3].path, name="best", tags=("good",), archived=True)
    entry = next(one for one in run_index.entries(home) if one.id == runs[3].id)
    assert entry.notes == Notes("best", ("good",), archived=True)
    (runs[3].path / "notes.json").unlink()
    assert all(one.notes == Notes() for one in run_index.entries(home))


def test_a_run_is_named_by_its_display_name(make_run):
    run, other = make_run(), make_run(seed=1)
    home = run.path.parent
    notes.change(run.path, name="best")
    assert run_index.find("best", home) == run
    with pytest.raises(LabError, match=f"{run.id} is named 'best' already"):
        run_index.refuse_taken("best", other, home)
    with pytest.raises(LabError, match="already"):
        run_index.refuse_taken(run.id, other, home)
    run_index.refuse_taken("best", run, home)


def test_an_empty_name_means_no_run(make_run):
    run = make_run()
    with pytest.raises(LabError, match="an empty name means no run"):
        run_index.find("", run.path.parent)


def test_archived_runs_are_chosen_only_by_name(make_run):
    run, archived = make_run(group="a"), make_run(seed=1, group="a")
    home = run.path.parent
    notes.change(archived.path, archived=True)
    assert run_index.select([], "a", home) == [run]
    assert run_index.select([], None, home) == [run]
    assert run_index.members("a", home) == [run]
    assert run_index.select([], "a", home, archived=True) == [run, archived]
    assert run_index.select([archived.id], None, home) == [archived]
    assert run_index.find("last", home) == run
    notes.change(run.path, archived=True)
    with pytest.raises(LabError, match="every run of group 'a' is archived"):
        run_index.select([], "a", home)
    with pytest.raises(LabError, match=r"every run in .* is archived"):
        run_index.select([], None, home)
