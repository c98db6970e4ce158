from labrun.results.page.words import clipped, counted, duration, joined, moment, short


def test_durations_have_their_two_largest_units():
    seconds = (0.4, 59, 192, 3600, 90061)
    assert [*map(duration, seconds)] == ["0 s", "59 s", "3 min 12 s", "1 h", "1 d 1 h"]


def test_times_are_in_utc():
    assert moment(0) == "1970-01-01 00:00 UTC"


def test_lists_and_counts_read_as_english():
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"], by="or") == "a, b or c"
    assert (counted(1, "run"), counted(2000, "run")) == ("1 run", "2,000 runs")


def test_a_text_of_the_limit_is_whole():
    assert clipped("abc", 3) == "abc"
    assert clipped("abcd", 3) == "abc … (4 characters)"


def test_the_middle_of_a_long_label_is_left_out():
    assert short("grpo lr=1", 9) == "grpo lr=1"
    assert short("grpo lr=10", 9) == "grpo…r=10"
