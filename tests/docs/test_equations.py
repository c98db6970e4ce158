"""The page of equations names functions that are there, as they are there, and nowhere twice."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "equations.md").read_text()
WHOLE = ("core/lab_llm/training/surrogate.py", "core/lab_marl/cloning/objectives.py")
WHOLE = (*WHOLE, *(str(p.relative_to(ROOT)) for p in ROOT.glob("plugins/**/objectives.py")))
"""Files whose every function is an equation."""


def sections() -> list[str]:
    """The part of the page about each equation, its title first."""
    return re.split(r"^###? ", PAGE, flags=re.M)[1:]


def quotes() -> list[tuple[str, str, str]]:
    """(path, qualified name, signature) of every function that the page shows."""
    pattern = r"^`([\w./]+\.py)`, `([\w.]+)`:\n\n```python\n(.*?)^```"
    return re.findall(pattern, PAGE, flags=re.S | re.M)


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """(qualified name, function) of every function and method of a module."""

    def inside(body: list[ast.stmt], outer: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for node in body:
            if isinstance(node, ast.FunctionDef):
                yield f"{outer}{node.name}", node
            elif isinstance(node, ast.ClassDef):
                yield from inside(node.body, f"{outer}{node.name}.")

    yield from inside(ast.parse(path.read_text()).body, "")


def signature(path: str, name: str) -> str:
    """The lines of the function before its docstring, as the file has them."""
    node = dict(functions(ROOT / path))[name]
    lines = (ROOT / path).read_text().splitlines()
    return "\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1])


def computed(node: ast.FunctionDef) -> str:
    """What a function computes: its statements, its names replaced by their order of appearance."""
    first = node.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    body = ast.Module(node.body[1:] if has_docstring else node.body, [])
    order: dict[str, str] = {}
    text = ast.dump(body)
    return re.sub(r"id='(\w+)'", lambda m: order.setdefault(m[1], f"v{len(order)}"), text)


def sources() -> list[Path]:
    return [*ROOT.glob("core/**/*.py"), *ROOT.glob("plugins/**/*.py")]


def test_every_equation_stands_above_one_function():
    equations = [part for part in sections() if "\n$$\n" in part]
    assert len(equations) == len(quotes()) > 50
    for part in equations:
        assert part.count("\n```python\n") == 1, part.splitlines()[0]
        assert part.index("\n$$\n") < part.index("\n```python\n")


def test_the_signatures_are_those_of_the_files():
    def unspaced(text: str) -> str:
        return "".join(text.split())

    differing = [
        (path, name)
        for path, name, shown in quotes()
        if unspaced(shown) != unspaced(signature(path, name))
    ]
    assert differing == []


def test_each_function_is_the_only_one_of_its_name():
    named = Counter(name for path in sources() for name, _ in functions(path))
    assert [name for _, name, _ in quotes() if named[name] != 1] == []


def test_no_other_function_computes_the_same():
    everywhere = Counter(computed(node) for path in sources() for _, node in functions(path))
    twice = [
        name
        for path, name, _ in quotes()
        if everywhere[computed(dict(functions(ROOT / path))[name])] != 1
    ]
    assert twice == []


def test_a_copy_under_other_names_computes_the_same():
    one, same, other = (
        ast.parse(text).body[0]
        for text in (
            "def f(a, b):\n    'Doc.'\n    return a.exp() - b",
            "def g(x, y):\n    return x.exp() - y",
            "def h(x, y):\n    return y.exp() - y",
        )
    )
    assert computed(one) == computed(same) != computed(other)


def test_every_function_of_the_files_of_equations_is_on_the_page():
    shown = {(path, name) for path, name, _ in quotes()}
    known = {(path, name) for path in WHOLE for name, _ in functions(ROOT / path)}
    assert known - shown == set()
