"""Completions as a page of its own, the words of uncertainty marked."""

import html
from collections.abc import Mapping, Sequence
from itertools import islice

from lab_llm.evaluator import Graded
from lab_llm.verbalization import epistemic_count, word_spans

STYLE = """
:root { color-scheme: light dark; --line: #8886; --card: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin: 1.6rem 0 0; }
header p { margin: .3rem 0; opacity: .8; }
article { border: 1px solid var(--line); border-radius: 6px; padding: .6rem .9rem;
  margin: .8rem 0; background: var(--card); }
article h3 { font-size: .9rem; margin: 0 0 .3rem; font-weight: 600; }
article h3 small { font-weight: 400; opacity: .75; }
.badge { padding: 0 .45em; border-radius: 4px; border: 1px solid currentColor; }
.correct { color: #1b9e77; } .wrong { color: #7570b3; }
.prompt { font-size: .85rem; opacity: .75; white-space: pre-wrap; margin: 0 0 .5rem; }
.text { font: 15px/1.8 ui-monospace, Consolas, Menlo, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; margin: 0; }
mark { background: #d95f0266; color: inherit; border-radius: 3px; padding: .1em .15em; }
"""


def page(
    graded: Mapping[str, Sequence[Graded]], *, words: Sequence[str], num_shown: int, title: str
) -> str:
    """The whole page; it loads nothing. Every text of the data is escaped."""
    sections = "\n".join(
        _section(name, of_set, words, num_shown) for name, of_set in graded.items()
    )
    listed = html.escape(", ".join(words))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Epistemic verbalization: {html.escape(title)}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>Epistemic verbalization</h1>\n<p>{html.escape(title)}</p>\n"
        f"<p>Marked, as whole words: {listed}</p>\n</header>\n{sections}\n</body>\n</html>\n"
    )


def _section(name: str, graded: Sequence[Graded], words: Sequence[str], num_shown: int) -> str:
    samples = ((g, sample) for g in graded for sample in range(len(g.texts)))
    shown = "\n".join(_article(g, sample, words) for g, sample in islice(samples, num_shown))
    return f"<h2>{html.escape(name)}</h2>\n{shown}"


def _article(graded: Graded, sample: int, words: Sequence[str]) -> str:
    text = graded.texts[sample]
    asked = graded.problem.prompt[-1]["content"] if graded.problem.prompt else ""
    prompt = f'<p class="prompt">{html.escape(asked)}</p>\n' if asked else ""
    return (
        f"<article>\n<h3>{_badge(graded, sample)}{html.escape(graded.problem.id)} "
        f"<small>sample {sample + 1}, {graded.lengths[sample]} tokens, "
        f"{len(word_spans(text, words))} words ({epistemic_count(text, words)} as published)"
        f'</small></h3>\n{prompt}<p class="text">{marked(text, words)}</p>\n</article>'
    )


def _badge(graded: Graded, sample: int) -> str:
    if not graded.rewards:
        return ""
    outcome = "correct" if graded.rewards[sample] == 1.0 else "wrong"
    return f'<span class="badge {outcome}">{outcome}</span> '


def marked(text: str, words: Sequence[str]) -> str:
    """The text as HTML, each whole word inside <mark>."""
    parts, end = [], 0
    for start, stop in word_spans(text, words):
        parts += [html.escape(text[end:start]), f"<mark>{html.escape(text[start:stop])}</mark>"]
        end = stop
    return "".join([*parts, html.escape(text[end:])])
