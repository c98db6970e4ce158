"""The two counts of epistemic words."""

from lab_llm.verbalization import EPISTEMIC_WORDS, epistemic_count, epistemic_words


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
