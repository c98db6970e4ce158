"""What is wrong in a plugin's files: the cause in one line, and the file and line of it."""

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from labrun.errors import LabError, listed, nearest, shown

OWN_FOLDER = str(Path(__file__).parents[1])
_KEYWORD = re.compile(r"(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'")


class FlawError(Exception):
    """A mistake of a plugin's author: its text ends with the place, where that is known."""

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(f"{text} ({place})" if place else text)


def cause(fault: BaseException, module: str, *, known: Sequence[Callable[..., Any]] = ()) -> str:
    """What went wrong in a plugin's code, and where, in one line.

    `known` are callables whose keyword arguments are named where one is misspelt.
    """
    place = place_of(fault, module)
    return f"{_words(fault, known)} ({place})" if place else _words(fault, known)


def _words(fault: BaseException, known: Sequence[Callable[..., Any]]) -> str:
    if isinstance(fault, SystemExit):
        return f"SystemExit: its code calls sys.exit({fault.code!r})"
    text = fault.msg if isinstance(fault, SyntaxError) else str(fault)
    text = shown(" ".join(text.split()), limit=400)
    kind = "" if isinstance(fault, LabError) else type(fault).__name__
    said = ": ".join(filter(None, [kind, text]))
    return f"{said}{_hint(fault, known)}"


def _hint(fault: BaseException, known: Sequence[Callable[..., Any]]) -> str:
    """The nearest name for a name that a module, an object or a call does not have."""
    if isinstance(fault, ModuleNotFoundError) and fault.name:
        return near_module(fault.name)
    if isinstance(fault, ImportError) and fault.name in sys.modules:
        wanted = re.search(r"cannot import name '(\w+)'", str(fault))
        return near_object(wanted[1], sys.modules[fault.name]) if wanted else ""
    if isinstance(fault, AttributeError) and fault.name:
        return _did_you_mean(nearest(fault.name, dir(fault.obj)))
    if isinstance(fault, NameError) and fault.name:
        return _did_you_mean(nearest(fault.name, _names_at(fault)))
    asked = _KEYWORD.search(str(fault)) if isinstance(fault, TypeError) else None
    called = [f for f in (*known, *_functions_at(fault)) if asked and f.__name__ == asked[1]]
    if asked and called:
        return _near(asked[2], inspect.signature(called[0]).parameters)
    return ""


def _names_at(fault: BaseException) -> dict[str, Any]:
    """The names that the code knew where it failed."""
    frame = fault.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    return {**frame.tb_frame.f_globals, **frame.tb_frame.f_locals} if frame else {}


def _functions_at(fault: BaseException) -> list[Callable[..., Any]]:
    """The functions that the code knew where it failed."""
    return [value for value in _names_at(fault).values() if inspect.isfunction(value)]


def _near(got: str, allowed: Any) -> str:
    names = [*allowed]
    return _did_you_mean(nearest(got, names), f"allowed: {listed(names, near=got)}")


def _did_you_mean(name: str, rest: str = "") -> str:
    """The hint behind a message: the nearest name, and what there is."""
    if not name:
        return f"; {rest}" if rest else ""
    return f"; did you mean {name!r}?" + (f" {rest}" if rest else "")


def near_module(name: str, *, root: str = "") -> str:
    """The hint for a module that is not there: the nearest one beside it, or the plugin's root."""
    parent, _, last = name.rpartition(".")
    if not parent:
        imported = {module.partition(".")[0] for module in sys.modules}
        return _did_you_mean(nearest(name, {root, *imported} - {name, ""}, cutoff=0.8))
    if parent not in sys.modules:
        return near_module(parent, root=root)
    modules = modules_in(sys.modules[parent])
    near = nearest(last, modules)
    rest = f"{parent} has {listed(modules, near=last)}"
    return _did_you_mean(f"{parent}.{near}" if near else "", rest)


def modules_in(package: Any) -> list[str]:
    """Names of the modules and packages that lie in a package's folders."""
    folders = [Path(folder) for folder in getattr(package, "__path__", ())]
    entries = [entry for folder in folders if folder.is_dir() for entry in folder.iterdir()]
    names = [e.stem for e in entries if e.suffix == ".py" or (e / "__init__.py").is_file()]
    return sorted({name for name in names if not name.startswith("_")})


def near_object(name: str, module: Any) -> str:
    """The hint for a name that a module does not have: the nearest, and what it defines."""
    public = [n for n in vars(module) if not n.startswith("_")]
    own = [n for n in public if getattr(vars(module)[n], "__module__", "") == module.__name__]
    own = [*getattr(module, "__all__", own), *modules_in(module)]
    near = nearest(name, own) or nearest(name, public)
    return _did_you_mean(near, f"it has {listed(own, near=name)}")


def place_of(fault: BaseException, module: str) -> str:
    """`FILE, line N` of the plugin's code nearest to the fault; empty where it is not known."""
    if isinstance(fault, SyntaxError) and fault.filename:
        return f"{fault.filename}, line {fault.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(fault.__traceback__)
        if not frame.filename.startswith(("<", OWN_FOLDER))
    ]
    own = [frame for frame in frames if frame.filename.startswith(tuple(_roots(module)))]
    if not own:
        library = str(Path(inspect.__file__).parent)
        own = [frame for frame in frames if not frame.filename.startswith(library)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""


def _roots(module: str) -> list[str]:
    """The folder of the module's package, or its file where it lies in none."""
    with suppress(Exception):  # a hook of somebody's may fail
        spec = PathFinder.find_spec(module.partition(".")[0])
        if spec and spec.submodule_search_locations:
            return [f"{folder}/" for folder in spec.submodule_search_locations]
        return [spec.origin] if spec and spec.origin else []
    return []


def place_of_module(module: str) -> str:
    """The module's file; empty where it has none."""
    return str(getattr(sys.modules.get(module), "__file__", "") or "")


def place_of_text(module: str, *texts: str) -> str:
    """`FILE, line N` of the first text that the module's source holds, else its file."""
    path = place_of_module(module)
    with suppress(OSError, UnicodeDecodeError):
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        for text in filter(None, texts):
            for number, line in enumerate(lines, 1):
                if text in line:
                    return f"{path}, line {number}"
    return path


def place_of_entry(module: str, *names: str) -> str:
    """`FILE, line N` where the last name is a key of the module's source, behind the others.

    A key is written `"name":` or `name=`. Of names that are not found, the place of those before.
    """
    path, line, at = place_of_module(module), 0, 0
    with suppress(OSError, UnicodeDecodeError):
        text = Path(path).read_text(encoding="utf-8")
        for name in names:
            quoted = re.escape(name)
            key = re.compile(rf"""["']{quoted}["']\s*:|\b{quoted}\s*=(?!=)""").search(text, at)
            if not key:
                break
            at = key.end()
            line = text.count("\n", 0, at) + 1
    return f"{path}, line {line}" if line else path


def place_of_object(found: Any) -> str:
    """`FILE, line N` where a class or function is defined; empty where that is not known."""
    with suppress(OSError, TypeError):
        return f"{inspect.getsourcefile(found)}, line {inspect.getsourcelines(found)[1]}"
    return ""
