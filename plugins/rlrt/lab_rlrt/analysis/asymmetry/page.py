"""Rollouts as a page of its own: tokens coloured by D_t, numbers where the pointer rests."""

import html
import math
from collections.abc import Sequence

from lab_llm.evaluation import pages

from lab_rlrt.analysis import colours
from lab_rlrt.analysis.traces import Trace

STYLE = """
.scale { width: 22rem; max-width: 100%; height: .9rem; border: 1px solid var(--line); }
.marks { display: flex; justify-content: space-between; width: 22rem; max-width: 100%;
  font-variant-numeric: tabular-nums; font-size: .85rem; }
.tokens { font: 15px/2 ui-monospace, Consolas, Menlo, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; margin: 0; }
.tokens span { position: relative; padding: .15em 0; border-radius: 2px; }
.tokens span:hover { outline: 1px solid currentColor; z-index: 2; }
.tokens span:hover::after { content: attr(data-numbers); position: absolute; left: 0; top: 1.9em;
  font-size: 12px; line-height: 1.4; white-space: pre; padding: .4em .6em; border-radius: 4px;
  background: Canvas; color: CanvasText; border: 1px solid var(--line);
  box-shadow: 0 2px 8px #0005; pointer-events: none; }
"""


def page(traces: Sequence[Trace], *, title: str) -> str:
    """The whole page; it loads nothing. Every text of the data is escaped."""
    at_most = colours.limit(value for trace in traces for value in trace.asymmetry)
    articles = "\n".join(_article(trace, at_most) for trace in traces)
    return pages.page(
        "Information asymmetry along rollouts",
        title=title,
        header=_legend(at_most),
        body=articles,
        style=STYLE,
    )


def _legend(at_most: float) -> str:
    ends = [_background(value, at_most) for value in (-at_most, at_most)]
    ramp = f"linear-gradient(to right, {ends[0]}, transparent, {ends[1]})"
    marks = "".join(f"<span>{value:+.2f}</span>" for value in (-at_most, at_most))
    marks = marks.replace("</span><span>", "</span><span>0</span><span>")
    return (
        "<p>D<sub>t</sub> = log P<sub>S</sub>(y<sub>t</sub>) - log P<sub>T</sub>(y<sub>t</sub>) in "
        "nats; the teacher T is the same model, given a correct rollout of the group. Orange: the "
        "student expected the token more than the teacher did. Blue: the teacher did. Rest on a "
        "token for its numbers.</p>\n"
        f'<div class="scale" style="background:{ramp}"></div>\n<div class="marks">{marks}</div>\n'
    )


def _article(trace: Trace, at_most: float) -> str:
    rollout = trace.rollout
    mean = sum(trace.asymmetry) / len(trace.tokens)
    tokens = "".join(_token(trace, place, at_most) for place in range(len(trace.tokens)))
    return pages.article(
        rollout.problem.id,
        f'<p class="tokens">{tokens}</p>',
        correct=rollout.correct,
        facts=f"{len(trace.tokens)} tokens, mean D<sub>t</sub> {mean:+.3f}",
        prompt=rollout.problem.prompt[-1]["content"],
    )


def _token(trace: Trace, place: int, at_most: float) -> str:
    value = trace.asymmetry[place]
    text = html.escape(trace.tokens[place]).replace("\n", "↵\n")
    numbers = (
        f"D_t {value:+.3f}\nDbar_t {trace.divergence[place]:.3f}\n"
        f"p_S {math.exp(trace.student[place]):.4g}\np_T {math.exp(trace.teacher[place]):.4g}"
    )
    numbers = numbers.replace("\n", "&#10;")
    style = f"background:{_background(value, at_most)}"
    return f'<span style="{style}" data-numbers="{numbers}">{text}</span>'


def _background(value: float, at_most: float) -> str:
    red, green, blue = colours.rgb(value)
    return f"rgba({red},{green},{blue},{colours.opacity(value, at_most=at_most):.2f})"
