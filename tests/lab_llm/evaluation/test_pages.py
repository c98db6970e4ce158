"""Pages of completions: what is escaped, what is left out."""

import re

from lab_llm.evaluation import pages


def test_a_page_escapes_its_names_and_keeps_its_parts_in_order():
    text = pages.page(
        "Words & more", title="<run>", header="<p>h</p>\n", body="<b>x</b>", style=".a {}"
    )
    assert "<title>Words &amp; more: &lt;run&gt;</title>" in text
    assert "<h1>Words &amp; more</h1>\n<p>&lt;run&gt;</p>\n<p>h</p>\n</header>\n<b>x</b>\n" in text
    assert f"<style>{pages.STYLE}.a {{}}</style>" in text
    assert text.startswith("<!doctype html>")
    assert '<meta charset="utf-8">' in text


def test_a_page_loads_nothing_and_follows_the_readers_colours():
    text = pages.page("h", title="t", header="", body="")
    assert re.findall(r"(?:src|href|url|@import|https?:)", text) == []
    assert "color-scheme: light dark" in text


def test_an_article_has_the_outcome_where_it_is_known_and_the_prompt_where_there_is_one():
    text = pages.article("<p1>", "<i>y</i>", correct=True, facts="3 tokens", prompt="1 < 2?")
    assert text == (
        '<article>\n<h2><span class="badge correct">correct</span> &lt;p1&gt; '
        '<small>3 tokens</small></h2>\n<p class="prompt">1 &lt; 2?</p>\n<i>y</i>\n</article>'
    )
    assert 'class="badge wrong">wrong<' in pages.article(
        "p", "", correct=False, facts="", prompt=""
    )
    bare = pages.article("p", "y", correct=None, facts="f", prompt="")
    assert bare == "<article>\n<h2>p <small>f</small></h2>\ny\n</article>"
