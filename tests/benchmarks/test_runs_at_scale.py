"""The result file of the costs at scale, when only some of them are measured again."""

import json

import runs_at_scale


def test_a_part_that_is_measured_alone_leaves_the_other_rows(tmp_path):
    out = tmp_path / "a.json"
    whole = runs_at_scale.beside_earlier(out, {"tick": {"t": 1}, "lists": {"t": 2}}, {"machine": 1})
    assert whole["machine"] == 1
    out.write_text(json.dumps(whole))
    part = runs_at_scale.beside_earlier(out, {"tick": {"t": 3}}, {"machine": 9})
    assert part["found"] == {"tick": {"t": 3}, "lists": {"t": 2}}
    assert (part["machine"], part["measured"]) == (1, {"tick": {"machine": 9}})
    out.write_text(json.dumps(part))
    again = runs_at_scale.beside_earlier(out, {"tick": {}, "lists": {}}, {"machine": 7})
    assert "measured" not in again
