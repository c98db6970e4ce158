"""Completions as a page of its own, the words of uncertainty marked."""

import html
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from lab_llm.evaluation import pages
from lab_llm.evaluation.accuracy import Graded
from lab_llm.text.epistemic_words import epistemic_count, word_spans

if TYPE_CHECKING:
    from lab_epistemic.verbalization.breakdown import Breakdown

STYLE = """
section > h2 { font-size: 1.1rem; margin: 1.8rem 0 0; }
section > p { margin: .2rem 0; opacity: .8; }
.text { font: 15px/1.8 ui-monospace, Consolas, Menlo, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; margin: 0; }
mark { background: #d95f0266; color: inherit; border-radius: 3px; padding: .1em .15em; }
mark.part { background: none; border-bottom: 2px solid #d95f02; border-radius: 0; padding: 0; }
"""


def page(
    graded: Mapping[str, Sequence[Graded]],
    found: Mapping[str, "Breakdown"],
    *,
    words: Sequence[str],
    num_shown: int,
    title: str,
) -> str:
    """The whole page; it loads nothing. Every text of the data is escaped.

    Of each set it shows `num_shown` responses: every problem's first one, then the second ones.
    """
    sections = "\n".join(
        _section(name, of_set, found[name], words, num_shown) for name, of_set in graded.items()
    )
    return pages.page(
        "Epistemic verbalization",
        title=title,
        header=_legend(words),
        body=sections,
        style=STYLE,
    )


def _legend(words: Sequence[str]) -> str:
    return (
        f"<p>Words: {html.escape(', '.join(words))}</p>\n"
        '<p><mark>Marked</mark>: as a whole word. <mark class="part">Underlined</mark>: inside a '
        "longer word, in the published count alone.</p>\n"
    )


def _section(
    name: str,
    graded: Sequence[Graded],
    found: "Breakdown",
    words: Sequence[str],
    num_shown: int,
) -> str:
    most = max(len(g.texts) for g in graded)
    samples = [(g, n) for n in range(most) for g in graded if n < len(g.texts)][:num_shown]
    shown = "\n".join(_article(g, sample, words) for g, sample in samples)
    summary = f"{_summary(graded, found)} Shown: {len(samples)}."
    return f"<section>\n<h2>{html.escape(name)}</h2>\n<p>{summary}</p>\n{shown}\n</section>"


def _summary(graded: Sequence[Graded], found: "Breakdown") -> str:
    known = all(g.rewards for g in graded)
    accuracy = f", accuracy {fmean(fmean(g.rewards) for g in graded):.3f}" if known else ""
    length, whole, published = (
        total / found.responses
        for total in (found.tokens, found.epistemic_words, found.epistemic_count)
    )
    responses = f"{_number(found.responses, 'response')} to {_number(found.problems, 'problem')}"
    return (
        f"{responses}{accuracy}, {length:.1f} tokens each. {whole:.2f} words a response as whole "
        f"words, {published:.2f} as published."
    )


def _article(graded: Graded, sample: int, words: Sequence[str]) -> str:
    text = graded.texts[sample]
    of = f"response {sample + 1} of {len(graded.texts)}, " if len(graded.texts) > 1 else ""
    return pages.article(
        graded.problem.id,
        f'<p class="text">{marked(text, words)}</p>',
        correct=graded.rewards[sample] == 1.0 if graded.rewards else None,
        facts=f"{of}{_number(graded.lengths[sample], 'token')}, "
        f"{_number(len(word_spans(text, words)), 'whole word')}, "
        f"{epistemic_count(text, words)} as published",
        prompt=graded.problem.prompt[-1]["content"] if graded.problem.prompt else "",
    )


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def marked(text: str, words: Sequence[str]) -> str:
    """The text as HTML: each whole word inside <mark>, between them what else the published count
    finds inside <mark class="part">."""
    parts, end = [], 0
    for start, stop in word_spans(text, words):
        parts += [
            _underlined(text[end:start], words),
            f"<mark>{html.escape(text[start:stop])}</mark>",
        ]
        end = stop
    return "".join([*parts, _underlined(text[end:], words)])


def _underlined(text: str, words: Sequence[str]) -> str:
    longest_first = sorted(words, key=len, reverse=True)
    pieces = re.split(f"({'|'.join(map(re.escape, longest_first))})", text, flags=re.IGNORECASE)
    return "".join(
        f'<mark class="part">{html.escape(piece)}</mark>' if place % 2 else html.escape(piece)
        for place, piece in enumerate(pieces)
    )
