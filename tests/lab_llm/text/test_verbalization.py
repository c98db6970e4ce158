"""The two counts of epistemic words."""

from lab_llm.text.epistemic_words import (
    EPISTEMIC_WORDS,
    epistemic_count,
    epistemic_words,
    substring_counts,
    word_counts,
    word_spans,
)


def test_the_words_are_the_ten_published_ones():
    assert len(set(EPISTEMIC_WORDS)) == 10
    assert epistemic_words(" ".join(EPISTEMIC_WORDS)) == 10


def test_substrings_count_in_the_published_measure_only():
    text = "Checking: it is unlikely, so waiting."
    assert epistemic_count(text) == 3  # check, likely, wait
    assert epistemic_words(text) == 0


def test_case_and_repetition():
    text = "Wait, WAIT. Hmm... maybe it seems so; maybe not."
    assert epistemic_count(text) == 6  # wait 2, hmm 1, maybe 2, seems 1
    assert epistemic_words(text) == 6


def test_text_without_doubt_counts_nothing():
    assert epistemic_count("5+2=7 7-1=6 yes. ans 5+2-1") == 0
    assert epistemic_words("") == 0


def test_each_word_is_counted_by_itself_in_both_measures():
    text = "Wait: unlikely. wait, check"
    assert substring_counts(text, ("wait", "likely", "check")) == {
        "wait": 2,
        "likely": 1,
        "check": 1,
    }
    assert word_counts(text, ("wait", "likely", "Check")) == {"wait": 2, "likely": 0, "Check": 1}


def test_the_words_can_be_others_and_hold_any_character():
    assert epistemic_count("so what? so.", ("so", "what?")) == 3
    assert epistemic_words("c++ or so", ("so",)) == 1
    assert epistemic_words("a.b axb", ("a.b",)) == 1  # the dot is no pattern


def test_spans_are_where_the_whole_words_stand():
    text = "hmm, maybe waiting"
    assert word_spans(text) == [(0, 3), (5, 10)]
    assert [text[a:b] for a, b in word_spans(text)] == ["hmm", "maybe"]


def test_the_longer_of_two_words_that_begin_alike_is_found():
    assert word_spans("not sure", ("not", "not sure")) == [(0, 8)]


def test_a_word_may_end_in_a_sign_and_ends_where_no_letter_follows():
    words = ("wait?", "not sure")
    assert epistemic_words("Wait? wait?! await? Not sure, not surely", words) == 3
