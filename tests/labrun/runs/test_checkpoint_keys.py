"""Checkpoints are signed with the user's key, which lies outside the runs."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from labrun.errors import LabError
from labrun.runs import checkpoint_keys, checkpoints


@pytest.fixture
def key_file(tmp_path, monkeypatch):
    path = tmp_path / "state" / "checkpoint.key"
    monkeypatch.setenv("LABRUN_KEY", str(path))
    return path


def write(folder):
    (folder / "optimizer.pt").write_text("weights")


@pytest.fixture
def sealed(tmp_path, key_file):
    return checkpoints.save(tmp_path / "checkpoints", 4, write, keep=2)


def refit(folder, text="other", *, signed=True):
    """Change a file and make the manifest fit, as far as one can without the key."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "optimizer.pt").write_text(text)
    manifest["sha256"]["optimizer.pt"] = checkpoints._sha256(folder / "optimizer.pt")
    if not signed:
        manifest = {key: manifest[key] for key in ("step", "sha256")}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_key_is_made_once_and_open_to_its_owner_alone(key_file):
    key = checkpoint_keys.own_key()
    assert key is not None
    assert len(key) == 32
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert checkpoint_keys.own_key() == key
    assert [path.name for path in key_file.parent.iterdir()] == ["checkpoint.key"]


def test_processes_that_make_the_key_at_once_have_one(key_file):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: checkpoint_keys.own_key(), range(32)))
    assert len(keys) == 1


@pytest.mark.parametrize("damage", ["open", "short", "link", "folder", "pipe"])
def test_a_key_that_others_may_know_is_none(key_file, damage):
    checkpoint_keys.own_key()
    if damage == "open":
        key_file.chmod(0o644)
    elif damage == "short":
        key_file.write_bytes(b"x")
    else:
        key_file.rename(key_file.with_name("other"))
        if damage == "link":
            key_file.symlink_to(key_file.with_name("other"))
        elif damage == "pipe":
            os.mkfifo(key_file)
        else:
            key_file.mkdir()
    assert checkpoint_keys.own_key() is None


def test_where_no_key_can_be_made_checkpoints_are_sealed_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("LABRUN_KEY", "/proc/none/key")
    path = checkpoints.save(tmp_path, 4, write, keep=2)
    assert checkpoints.fault_of(path) is None
    with pytest.raises(LabError, match=r"/proc/none/key is no key of 32 bytes .* set LABRUN_KEY"):
        checkpoints.refuse_foreign(path)


def test_own_checkpoints_are_no_foreign_ones(sealed):
    assert checkpoints.fault_of(sealed) is None
    checkpoints.refuse_foreign(sealed)


def test_a_manifest_that_was_made_to_fit_is_damage(sealed):
    refit(sealed)
    assert checkpoints.fault_of(sealed) == (
        f"{sealed / 'manifest.json'} is damaged: it was altered after the run wrote it"
    )


@pytest.mark.parametrize("entry", ["step", "events", "hmac"])
def test_every_entry_of_a_manifest_is_signed(sealed, entry):
    manifest = json.loads((sealed / "manifest.json").read_text())
    other = {"step": 4.0, "events": {"bytes": 0, "sha256": "x"}, "hmac": "é"}[entry]
    (sealed / "manifest.json").write_text(json.dumps(manifest | {entry: other}))
    assert "altered after the run wrote it" in (checkpoints.fault_of(sealed) or "")


def test_a_checkpoint_without_a_signature_is_whole_and_foreign(sealed):
    refit(sealed, signed=False)
    assert checkpoints.fault_of(sealed) is None
    with pytest.raises(LabError, match="may be foreign: your key did not sign it"):
        checkpoints.refuse_foreign(sealed)


def test_a_checkpoint_of_another_user_is_whole_and_foreign_until_the_key_is_given(
    sealed, key_file, monkeypatch
):
    theirs = key_file.with_name("theirs.key")
    monkeypatch.setenv("LABRUN_KEY", str(theirs))
    assert checkpoints.fault_of(sealed) is None
    with pytest.raises(LabError, match="set LABRUN_KEY to a copy of that user's key"):
        checkpoints.refuse_foreign(sealed)
    theirs.write_bytes(key_file.read_bytes())
    checkpoints.refuse_foreign(sealed)


def test_a_file_that_the_manifest_does_not_name_makes_a_checkpoint_foreign(sealed):
    (sealed / "extra_optim_states.pt").write_text("x")
    assert checkpoints.fault_of(sealed) is None
    with pytest.raises(LabError, match=r"extra_optim_states\.pt is not in its manifest"):
        checkpoints.refuse_foreign(sealed)


@pytest.mark.parametrize("sums", [{}, None, [], "x"])
def test_a_manifest_without_sums_is_no_manifest(sealed, sums):
    (sealed / "manifest.json").write_text(json.dumps({"step": 4, "sha256": sums}))
    assert "manifest.json cannot be read (it" in (checkpoints.fault_of(sealed) or "")


def test_a_checkpoint_under_another_step_s_name_is_damage(sealed):
    os.rename(sealed, moved := sealed.with_name("00000008"))
    assert checkpoints.fault_of(moved) == (
        f"{moved / 'manifest.json'} cannot be read (it is of step 4)"
    )


def test_a_checkpoint_moved_to_another_home_is_whole(sealed, tmp_path):
    os.rename(sealed.parent, tmp_path / "elsewhere")
    checkpoints.refuse_foreign(tmp_path / "elsewhere" / sealed.name)
