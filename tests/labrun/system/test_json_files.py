"""Small files of JSON."""

import json

import pytest
from labrun.errors import LabError
from labrun.system.json_files import parsed, write_json


def test_half_of_a_pair_of_surrogates_is_read_as_python_reads_it():
    assert parsed(rb'{"note": "\ud800", "rate": 1e-320}') == {"note": "\ud800", "rate": 1e-320}


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\xfa", b'{"a": 1}}'])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r"column|codec"):
        parsed(text)


def test_numbers_are_read_to_the_last_digit():
    numbers = [0.1, 5e-324, 1.7976931348623157e308, 2.5e-7, 123456789.123456789, 2**70]
    assert parsed(json.dumps(numbers).encode()) == numbers


def test_a_file_in_the_place_of_its_folder_is_one_line(tmp_path):
    (tmp_path / "run").write_text("no folder")
    with pytest.raises(LabError, match=r"status\.json cannot be written: Not a directory; put"):
        write_json(tmp_path / "run" / "status.json", {})
