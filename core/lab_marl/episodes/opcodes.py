"""What a pickle of NumPy arrays says, worked out without `pickle`: no name in it is looked up.

A pickle is a list of instructions for a machine with a stack. This machine knows those that arrays,
numbers, texts, lists and dicts need. It makes plain records of them: nothing of NumPy takes part,
so no instruction can reach NumPy. Any other instruction is refused.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_OPCODES = 100_000
"""Instructions of one file at most; a dict of arrays needs 40 for each."""


class RefusedError(Exception):
    """Why a pickle is not read, as the end of a sentence."""


@dataclass(frozen=True)
class Name:
    """A name that the file asks for, never looked up."""

    module: str
    name: str


@dataclass(frozen=True)
class Encoded:
    """Bytes that protocol 2 keeps as a text of Latin-1."""

    text: str


@dataclass(frozen=True)
class Scalar:
    """A single number of NumPy, whatever it is."""


@dataclass
class NumberType:
    """A NumPy type by its code (`f4`), which may be one that holds no numbers."""

    code: str
    order: str = ""
    """`<`, `>` or `|`."""

    def build(self, state: Any) -> None:
        """Take the order of the bytes. A type that is more than that is refused."""
        plain = (None, None, None, -1, -1, 0)
        if not isinstance(state, tuple) or state[0] not in (3, 4):
            raise RefusedError("it describes a type of numbers in a way that is not known here")
        if state[2:8] != plain and self.code[:1] in ("b", "i", "u", "f"):
            raise RefusedError(f"it changes the type {self.code}")
        if state[1] not in ("<", ">", "|") or self.order:
            raise RefusedError(f"it changes the order of bytes of {self.code}")
        self.order = state[1]


Content = bytes | bytearray | Encoded


@dataclass
class StoredArray:
    """An array as the file describes it, its numbers not yet read."""

    shape: tuple[int, ...] = ()
    type: NumberType | None = None
    fortran: bool = False
    content: Content | None = None
    """None: the array has no content yet, or one of Python objects."""

    def build(self, state: Any) -> None:
        """Take (version, shape, type, Fortran order, content)."""
        if self.type or not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError("it describes an array in a way that is not known here")
        _, shape, kind, fortran, content = state
        self._fill(shape, kind, fortran, Encoded(content) if type(content) is str else content)

    def fill(self, content: Any, kind: Any, shape: Any, order: Any) -> "StoredArray":
        """Take what protocol 5 says of an array."""
        if order not in ("C", "F"):
            raise RefusedError("an array in it has neither the order C nor F")
        self._fill(shape, kind, order == "F", content)
        return self

    def _fill(self, shape: Any, kind: Any, fortran: Any, content: Any) -> None:
        counts = type(shape) is tuple and all(type(n) is int and 0 <= n < 2**63 for n in shape)
        if not counts or not isinstance(kind, NumberType) or type(fortran) not in (bool, int):
            raise RefusedError("an array in it has no shape, type or order")
        self.shape, self.type, self.fortran = shape, kind, bool(fortran)
        self.content = content if isinstance(content, Content) else None


NDARRAY = Name("numpy", "ndarray")


def _reconstruct(cls: Any, shape: Any, code: Any) -> StoredArray:
    del shape, code
    if cls != NDARRAY:
        raise RefusedError("it asks for an array of another class")
    return StoredArray()


def _dtype(code: Any, align: Any = False, copy: Any = True) -> NumberType:
    del align, copy
    if type(code) is not str or len(code) > 16:
        raise RefusedError("it asks for a type of numbers by other than its code")
    return NumberType(code)


def _encode(text: Any, encoding: Any) -> Encoded:
    if type(text) is not str or encoding != "latin1":
        raise RefusedError("it encodes a text otherwise than to latin1")
    return Encoded(text)


def _scalar(kind: Any, content: Any) -> Scalar:
    del kind, content
    return Scalar()


CALLS: dict[Name, Callable[..., Any]] = {
    Name("numpy", "dtype"): _dtype,
    Name("_codecs", "encode"): _encode,
    Name("__builtin__", "bytes"): lambda: b"",
    Name("builtins", "bytes"): lambda: b"",
}
"""What stands in for a name that the file calls."""
for _package in ("numpy.core", "numpy._core"):
    CALLS |= {
        Name(f"{_package}.multiarray", "_reconstruct"): _reconstruct,
        Name(f"{_package}.multiarray", "scalar"): _scalar,
        Name(f"{_package}.numeric", "_frombuffer"): lambda *args: StoredArray().fill(*args),
    }

VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
"""Instructions that push what stands behind them."""
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
IGNORED = {"PROTO", "FRAME", "STOP"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Bounded:
    """A file of which no more is asked for than it has, whatever a length in it says."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self.readline = file, size, file.readline

    def read(self, num: int) -> bytes:
        return self._file.read(min(num, self._size))


def run(file: BinaryIO, size: int) -> Any:
    """What a pickle of `size` bytes holds: dicts, lists, numbers, texts, `StoredArray`.

    Raises RefusedError for an instruction or a name that no array needs, and ValueError or
    LookupError for a damaged file.
    """
    machine = _Machine()
    bounded: Any = _Bounded(file, size)
    for number, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
        if number >= MAX_OPCODES:
            raise RefusedError(f"it has more than {MAX_OPCODES} instructions")
        machine.step(opcode.name, argument)
    return machine.stack[-1]


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in TUPLES:
            self.stack.append(tuple(self._pop(TUPLES[name])))
        elif name in STEPS:
            STEPS[name](self, argument)
        elif name not in IGNORED:
            raise RefusedError(f"it holds the instruction {name}, which no array needs")

    def _pop(self, num: int) -> list[Any]:
        if len(self.stack) < num:
            raise IndexError("the stack is empty")
        values = self.stack[len(self.stack) - num :]
        del self.stack[len(self.stack) - num :]
        return values

    def _above_mark(self) -> list[Any]:
        return self._pop(max(0, len(self.stack) - self.marks.pop()))

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def pop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self._pop(1)

    def pop_mark(self, _: Any) -> None:
        self._above_mark()

    def put(self, number: Any) -> None:
        self.memo[len(self.memo) if number is None else number] = self.stack[-1]

    def get(self, number: Any) -> None:
        if number not in self.memo:
            raise LookupError(f"nothing is kept as {number}")
        self.stack.append(self.memo[number])

    def list_above(self, _: Any) -> None:
        self.stack.append(self._above_mark())

    def tuple_above(self, _: Any) -> None:
        self.stack.append(tuple(self._above_mark()))

    def dict_above(self, _: Any) -> None:
        items = self._above_mark()
        self.stack.append({})
        self._set(items)

    def set_one(self, _: Any) -> None:
        self._set(self._pop(2))

    def set_above(self, _: Any) -> None:
        self._set(self._above_mark())

    def append_one(self, _: Any) -> None:
        self._extend(self._pop(1))

    def append_above(self, _: Any) -> None:
        self._extend(self._above_mark())

    def _set(self, items: list[Any]) -> None:
        target, keys, values = self.stack[-1], items[::2], items[1::2]
        # Only a text is looked at as a key: the hash of nested tuples may take for ever.
        if type(target) is not dict or not all(type(key) is str for key in keys):
            raise RefusedError("a key in it is no text")
        target.update(zip(keys, values, strict=True))

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise RefusedError("it appends to what is no list")
        self.stack[-1].extend(items)

    def global_line(self, text: str) -> None:
        self._name(*text.split(" ", 1))

    def global_above(self, _: Any) -> None:
        self._name(*self._pop(2))

    def _name(self, module: Any, name: Any) -> None:
        asked = Name(module, name)
        if type(module) is not str or type(name) is not str:
            raise RefusedError("it asks for a name that is no text")
        if asked not in CALLS and asked != NDARRAY:
            raise RefusedError(f"it asks for {module}.{name}")
        self.stack.append(asked)

    def reduce(self, _: Any) -> None:
        function, arguments = self._pop(2)
        if type(function) is not Name or function not in CALLS or type(arguments) is not tuple:
            raise RefusedError("it calls what is no maker of arrays")
        try:
            self.stack.append(CALLS[function](*arguments))
        except TypeError as error:  # another number of arguments
            text = f"it calls {function.module}.{function.name} with other arguments"
            raise RefusedError(text) from error

    def build(self, _: Any) -> None:
        (state,) = self._pop(1)
        target = self.stack[-1]
        if not isinstance(target, NumberType | StoredArray):
            raise RefusedError("it changes what is no array")
        target.build(state)


STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "LIST": _Machine.list_above,
    "TUPLE": _Machine.tuple_above,
    "DICT": _Machine.dict_above,
    "SETITEM": _Machine.set_one,
    "SETITEMS": _Machine.set_above,
    "APPEND": _Machine.append_one,
    "APPENDS": _Machine.append_above,
    "GLOBAL": _Machine.global_line,
    "STACK_GLOBAL": _Machine.global_above,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
}
"""Every other instruction that is known."""
