import json

from lab_llm.evaluation.completion_files import samples_in
from labrun.sample import Sample


def lines(path, *objects):
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))


def test_a_line_becomes_a_sample_with_its_words_marked(tmp_path):
    line = {
        "id": "p1",
        "sample": 2,
        "prompt": [{"role": "user", "content": "make 18"}],
        "gold": 18,
        "completion": "no wait, checking",
        "tokens": 1034,
        "correct": 0.5,
        "timed_out": True,
    }
    lines(tmp_path / "in_domain.jsonl", line)
    found = samples_in(tmp_path, words=("wait", "check"))
    assert found.meaning == "epistemic words: wait, check"
    assert [*found.samples] == [
        Sample(
            task="in_domain",
            problem="p1",
            prompt="make 18",
            answer="18",
            completion="no wait, checking",
            correct=False,
            number=2,
            facts=["reward 0.50", "1,034 tokens", "the grader ran out of time"],
            marked=[(3, 7)],
        )
    ]


def test_a_chat_of_several_messages_has_their_roles(tmp_path):
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    lines(tmp_path / "a.jsonl", {"prompt": chat, "completion": "x"})
    (sample,) = samples_in(tmp_path, words=()).samples
    assert sample.prompt == "system: be brief\n\nuser: hi"
    assert (sample.correct, sample.answer, sample.facts) == (None, "", [])


def test_no_folder_has_no_samples_and_no_object_is_none(tmp_path):
    assert [*samples_in(tmp_path / "none", words=("wait",)).samples] == []
    (tmp_path / "a.jsonl").write_text('[1]\n{"completion": 3}\n{"comp\n')
    assert [*samples_in(tmp_path, words=("wait",)).samples] == []
