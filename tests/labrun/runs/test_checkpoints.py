import json
import signal
import subprocess
import sys
import textwrap

import pytest
from labrun.errors import LabError
from labrun.runs import checkpoints


def writer(text: str):
    def write(folder):
        (folder / "weights").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "rng.json").write_text("[1]")

    return write


@pytest.fixture
def root(tmp_path):
    """Sealed checkpoints of steps 2 and 4."""
    path = tmp_path / "checkpoints"
    checkpoints.save(path, 2, writer("two"), keep=2)
    checkpoints.save(path, 4, writer("four"), keep=2)
    return path


def test_latest_is_the_newest_step(root):
    assert checkpoints.latest(root) == root / "00000004"
    assert checkpoints.step_of(root / "00000004") == 4
    assert (root / "00000004" / "weights").read_text() == "four"


def test_no_checkpoint_was_ever_sealed(tmp_path):
    assert checkpoints.latest(tmp_path / "checkpoints") is None


def test_manifest_sums_every_file(root):
    manifest = json.loads((root / "00000004" / "manifest.json").read_text())
    assert manifest["step"] == 4
    # sha256sum of the three bytes [1]
    assert manifest["sha256"]["inner/rng.json"] == (
        "080a9ed428559ef602668b4c00f114f1a11c3f6b02a435f0bdc154578e4d7f22"
    )
    assert sorted(manifest["sha256"]) == ["inner/rng.json", "weights"]


def test_flipped_byte_is_passed_over_with_a_warning(root):
    (root / "00000004" / "weights").write_text("fouR")
    with pytest.warns(UserWarning, match=r"00000004/weights is damaged \(its sha256 differs"):
        assert checkpoints.latest(root) == root / "00000002"


def test_missing_file_is_passed_over_with_a_warning(root):
    (root / "00000004" / "inner" / "rng.json").unlink()
    with pytest.warns(UserWarning, match=r"00000004/inner/rng\.json is missing"):
        assert checkpoints.latest(root) == root / "00000002"


def test_missing_manifest_is_passed_over_with_a_warning(root):
    (root / "00000004" / "manifest.json").unlink()
    with pytest.warns(UserWarning, match=r"manifest\.json cannot be read \(FileNotFoundError\)"):
        assert checkpoints.latest(root) == root / "00000002"


def test_cut_off_manifest_is_passed_over_with_a_warning(root):
    (root / "00000004" / "manifest.json").write_text('{"step": 4, "sha')
    with pytest.warns(UserWarning, match=r"manifest\.json cannot be read \(JSONDecodeError\)"):
        assert checkpoints.latest(root) == root / "00000002"


def test_all_damaged_is_an_error_that_says_what_to_do(root):
    for step in ("00000002", "00000004"):
        (root / step / "weights").unlink()
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(LabError, match=r"no readable checkpoint in .*`lab resume --restart`"),
    ):
        checkpoints.latest(root)


def test_only_the_newest_are_kept(root):
    checkpoints.save(root, 6, writer("six"), keep=2)
    assert sorted(p.name for p in root.iterdir()) == ["00000004", "00000006"]
    checkpoints.save(root, 10, writer("ten"), keep=1)
    assert sorted(p.name for p in root.iterdir()) == ["00000010"]


def test_a_replayed_step_replaces_its_checkpoint(root):
    checkpoints.save(root, 4, writer("again"), keep=2)
    assert (checkpoints.latest(root) / "weights").read_text() == "again"
    assert sorted(p.name for p in root.iterdir()) == ["00000002", "00000004"]


def test_failing_writer_leaves_the_earlier_ones_and_its_draft_is_cleared(root):
    def fails(folder):
        (folder / "weights").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        checkpoints.save(root, 6, fails, keep=2)
    assert checkpoints.latest(root) == root / "00000004"
    checkpoints.save(root, 8, writer("eight"), keep=3)
    assert sorted(p.name for p in root.iterdir()) == ["00000002", "00000004", "00000008"]


@pytest.mark.parametrize("victim", ["checkpoints.write_json", "os.rename"])
def test_sigkill_before_the_seal_leaves_the_earlier_ones(root, victim):
    code = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from labrun.runs import checkpoints
        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        VICTIM = die
        checkpoints.save(Path(sys.argv[1]), 6, lambda f: (f / "w").write_text("x"), keep=1)
        """
    ).replace("VICTIM", victim)
    killed = subprocess.run([sys.executable, "-c", code, str(root)])
    assert killed.returncode == -signal.SIGKILL
    assert checkpoints.latest(root) == root / "00000004"
    assert sorted(p.name for p in root.glob("[0-9]*")) == ["00000002", "00000004"]
