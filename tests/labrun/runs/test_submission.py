"""What a run directory knows of its job."""

import pytest
from labrun.errors import LabError
from labrun.runs import submission


def test_a_cancelled_run_is_so_until_it_is_renewed(tmp_path):
    submission.cancel(tmp_path)
    assert submission.is_cancelled(tmp_path)
    submission.renew(tmp_path)
    submission.renew(tmp_path)
    assert not submission.is_cancelled(tmp_path)


def test_what_lies_in_the_mark_s_place_is_named(tmp_path):
    mark = tmp_path / submission.CANCELLED
    mark.symlink_to(mark.name)
    with pytest.raises(LabError, match=f"^{mark} cannot be changed: .*links.*; remove it"):
        submission.cancel(tmp_path)
    mark.unlink()
    mark.mkdir()
    with pytest.raises(LabError, match=f"^{mark} cannot be changed: Is a directory; remove it"):
        submission.renew(tmp_path)
