"""Pages of completions: one HTML file that loads nothing, readable in light and in dark."""

import html

STYLE = """
:root { color-scheme: light dark; --line: #8886; --card: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin-bottom: 0; }
header p { margin: .3rem 0; opacity: .8; }
article { border: 1px solid var(--line); border-radius: 6px; padding: .6rem .9rem;
  margin: 1rem 0; background: var(--card); }
article h2 { font-size: .9rem; margin: 0 0 .3rem; font-weight: 600; }
article h2 small { font-weight: 400; opacity: .75; }
.badge { padding: 0 .45em; border-radius: 4px; border: 1px solid currentColor; }
.correct { color: #1b9e77; color: light-dark(#0f7657, #3fc79d); }
.wrong { color: #7570b3; color: light-dark(#5f59a6, #a9a5e0); }
.prompt { font-size: .85rem; opacity: .75; white-space: pre-wrap; margin: 0 0 .5rem; }
"""


def page(heading: str, *, title: str, header: str, body: str, style: str = "") -> str:
    """The whole page. `header` and `body` are HTML, `style` is CSS after that of all pages;
    `heading` and `title`, of the run, are escaped here."""
    heading, title = html.escape(heading), html.escape(title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}: {title}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{heading}</h1>\n<p>{title}</p>\n{header}</header>\n{body}\n"
        "</body>\n</html>\n"
    )


def article(name: str, body: str, *, correct: bool | None, facts: str, prompt: str) -> str:
    """One completion. `body` and `facts` (beside its problem's name) are HTML, `name` and `prompt`
    are escaped here; no outcome where `correct` is None, no prompt where it is empty."""
    asked = f'<p class="prompt">{html.escape(prompt)}</p>\n' if prompt else ""
    return (
        f"<article>\n<h2>{_badge(correct)}{html.escape(name)} <small>{facts}</small></h2>\n"
        f"{asked}{body}\n</article>"
    )


def _badge(correct: bool | None) -> str:
    if correct is None:
        return ""
    outcome = "correct" if correct else "wrong"
    return f'<span class="badge {outcome}">{outcome}</span> '
