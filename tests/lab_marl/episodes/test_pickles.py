"""Pickles of arrays: read as pickle reads them; a crafted one gets no hold on Python or NumPy."""

import pickle
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from lab_marl.episodes import pickles
from labrun.errors import LabError

ARRAYS = {
    "halves": np.arange(6, dtype=np.float16).reshape(1, 2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
    "big_endian": np.array([1, 2**40], ">i8"),
    "slice": np.arange(8, dtype=np.uint8)[::2],
    "truth": np.array([[True, False]]),
    "none": np.zeros((0, 3)),
    "point": np.array(2.5, np.float32),
}


def reads(tmp_path: Path, content: bytes) -> dict[str, np.ndarray]:
    file = tmp_path / "part_0.pkl"
    file.write_bytes(content)
    return pickles.read(file)


def refusal(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(LabError) as caught:
        reads(tmp_path, content)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{tmp_path}/part_0.pkl")
    return said.removeprefix(f"{tmp_path}/part_0.pkl")


def check_arrays(found: dict[str, np.ndarray]) -> None:
    assert list(found) == list(ARRAYS)
    for key, values in ARRAYS.items():
        assert found[key].dtype == values.dtype, key
        assert found[key].shape == values.shape
        assert found[key].tolist() == values.tolist()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol_and_of_older_numpy_are_read(protocol, tmp_path):
    content = pickle.dumps(ARRAYS, protocol=protocol)
    check_arrays(reads(tmp_path, content))
    if protocol < 4:  # a name of another length would not fit into later protocols
        check_arrays(reads(tmp_path, content.replace(b"numpy._core", b"numpy.core")))


def test_an_array_that_stands_twice_is_read_twice(tmp_path):
    one = np.arange(3.0)
    found = reads(tmp_path, pickle.dumps({"a": one, "b": one}))
    assert found["a"].tolist() == found["b"].tolist() == [0, 1, 2]


def text(words: str) -> bytes:
    encoded = words.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def many(*parts: bytes) -> bytes:
    return pickle.MARK + b"".join(parts) + pickle.TUPLE


def asked(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + many(*arguments) + pickle.REDUCE


def raw(content: bytes) -> bytes:
    return pickle.BINBYTES + struct.pack("<I", len(content)) + content


def put(place: int) -> bytes:
    return pickle.BINPUT + bytes([place])


def get(place: int) -> bytes:
    return pickle.BINGET + bytes([place])


def held(*items: bytes) -> bytes:
    """A pickle of the dict of keys and values."""
    made = pickle.PROTO + b"\x04" + pickle.EMPTY_DICT + pickle.MARK + b"".join(items)
    return made + pickle.SETITEMS + pickle.STOP


NO, NONE, BUILD = pickle.NEWFALSE, pickle.NONE, pickle.BUILD
NDARRAY = asked("numpy", "ndarray")
EMPTY = called(asked("numpy._core.multiarray", "_reconstruct"), NDARRAY, many(number(0)), raw(b"b"))


def kind(code: str) -> bytes:
    return called(asked("numpy", "dtype"), text(code), NO, pickle.NEWTRUE)


def order(sign: str = "<") -> bytes:
    plain = (NONE, NONE, NONE, number(-1), number(-1), number(0))
    return many(number(3), text(sign), *plain) + BUILD


def array(type_: bytes, content: bytes, *shape: int) -> bytes:
    return EMPTY + many(number(1), many(*map(number, shape)), type_, NO, content) + BUILD


def test_what_the_crafted_pickles_are_made_of_is_read(tmp_path):
    content = held(text("obs"), array(kind("u2") + order(">"), raw(b"\1\2\3\4"), 2))
    assert reads(tmp_path, content)["obs"].tolist() == [0x102, 0x304]
    assert pickle.loads(content)["obs"].tolist() == [0x102, 0x304]


@pytest.mark.parametrize("code", ["V8", "f8"])
def test_a_shared_type_cannot_get_a_field_of_objects_afterwards(code, tmp_path):
    """With NumPy's own types, what stands in the array would be taken for addresses."""
    shared = kind(code) + put(0)
    fields = (
        many(
            text("f"),
        ),
        pickle.EMPTY_DICT + pickle.MARK + text("f") + many(kind("O8"), number(0)) + pickle.SETITEMS,
    )
    state = many(number(3), text("|"), NONE, *fields, number(8), number(8), number(63))
    content = held(
        *(text("z"), shared),
        *(text("obs"), array(get(0), raw(b"A" * 32), 4)),
        *(text("y"), get(0) + state + BUILD),
    )
    said = refusal(tmp_path, content)
    assert said.startswith(
        ": z holds a NumberType" if code == "V8" else " is not read: it changes the type f8"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (array(kind("O8") + order("|"), raw(b"A" * 8), 1), ": obs holds the type O8, expected re"),
        (array(kind("V8") + order("|"), raw(b"A" * 8), 1), ": obs holds the type V8, expected re"),
        (array(kind("c8") + order(), raw(b"A" * 8), 1), ": obs holds the type c8, expected real"),
        (array(kind("f8") + order("O"), raw(b"A" * 8), 1), " is not read: it changes the order"),
        (array(kind("f8") + order() + order(">"), raw(b"A" * 8), 1), " is not read: it changes "),
        (array(kind("f8"), raw(b"A" * 8), 2), ": obs has 8 bytes, its shape (2,) 16; where it"),
        (array(kind("f8"), raw(b"A" * 8), -1), " is not read: an array in it has no shape, type"),
        (array(text("f8"), raw(b"A" * 8), 1), " is not read: an array in it has no shape, type o"),
        (array(kind("f8"), NONE, 1), ": obs holds Python objects, expected numbers"),
        (array(kind("b1"), raw(b"\1\2"), 2), ": obs holds a truth value of 2, expected 0 or 1"),
        (array(kind("u1"), text("\u0394"), 1), ": obs is damaged: 'latin-1' codec can't encode"),
        (array(kind("u1"), raw(b""), 0, *[1] * 80), ": obs is damaged: maximum supported dimensio"),
        (array(kind("u1"), raw(b""), 0, *[2**31 - 1] * 9), ": obs is damaged: "),
        (EMPTY, ": obs holds a NumPy array without content, expected a NumPy arr"),
        (array(kind("u1"), raw(b"a"), 1) + NONE + BUILD, " is not read: it describes an array in"),
        (called(NDARRAY, many(number(1 << 30)), text("u1")), " is not read: it calls what is no"),
        (called(asked("numpy", "dtype"), kind("O8")), " is not read: it asks for a type of number"),
        (called(asked("numpy", "dtype")), " is not read: it calls numpy.dtype with other argumen"),
        (called(text("dtype"), text("u1")), " is not read: it calls what is no maker of arrays"),
        (asked("numpy", "dtype") + text("u1") + pickle.REDUCE, " is not read: it calls what is n"),
        (asked("numpy", "dtype") + NONE + BUILD, " is not read: it changes what is no array"),
        (NDARRAY + pickle.EMPTY_TUPLE + pickle.NEWOBJ, " is not read: it holds the instruction NE"),
        (pickle.INST + b"numpy\nndarray\n", " is not read: it holds the instruction INST, which"),
        (pickle.MARK + NDARRAY + pickle.OBJ, " is not read: it holds the instruction OBJ, which"),
        (pickle.EXT1 + b"\1", " is not read: it holds the instruction EXT1, which no array needs"),
        (pickle.PERSID + b"0\n", " is not read: it holds the instruction PERSID, which no array"),
        (NONE + pickle.BINPERSID, " is not read: it holds the instruction BINPERSID, which no a"),
        (pickle.NEXT_BUFFER, " is not read: it holds the instruction NEXT_BUFFER, which no array"),
        (pickle.EMPTY_SET, " is not read: it holds the instruction EMPTY_SET, which no array need"),
        (NONE + NONE + pickle.APPEND, " is not read: it appends to what is no list"),
        (get(77), " is not read: it is damaged or no pickle (nothing is kept as 77); get it ag"),
        (pickle.POP * 9, " is not read: it is damaged or no pickle (the stack is empty); get it"),
        (called(asked("numpy.core.multiarray", "scalar"), kind("O8"), raw(b"A" * 8)), ": obs hol"),
    ],
)
def test_a_crafted_value_is_refused(value, expected, tmp_path):
    assert refusal(tmp_path, held(text("obs"), value)).startswith(expected)


def test_a_class_that_inherits_from_arrays_is_not_made(tmp_path):
    matrix = called(
        asked("numpy._core.multiarray", "_reconstruct"), asked("_codecs", "encode"), NONE, NONE
    )
    assert "it asks for an array of another class" in refusal(tmp_path, held(text("obs"), matrix))


def test_a_key_that_is_no_text_is_refused_and_not_looked_at(tmp_path):
    """The hash of these nested pairs takes 2^60 steps, their text 2^60 letters."""
    key = number(1) + (put(0) + get(0) + pickle.TUPLE2) * 60
    assert "a key in it is no text" in refusal(tmp_path, held(key, NONE))
    said = refusal(tmp_path, pickle.PROTO + b"\4" + key + pickle.STOP)
    assert said.startswith(" holds a tuple, expected a dict of arrays by key; where it was made")


def test_arrays_that_share_their_content_may_not_claim_more_than_the_file_has(tmp_path):
    shared = raw(b"a" * 1000) + put(0) + pickle.POP
    items = [part for i in range(9) for part in (text(f"k{i}"), array(kind("u1"), get(0), 1000))]
    said = refusal(tmp_path, held(shared + items[0], *items[1:]))
    assert said.startswith(": its arrays have 9000 bytes, the file has ")


def test_a_length_beyond_the_file_asks_for_no_memory(tmp_path):
    long = pickle.BINBYTES8 + struct.pack("<Q", 1 << 62) + b"abc"
    assert refusal(tmp_path, held(text("obs"), long)).startswith(" is not read: it is damaged")


@pytest.mark.parametrize(
    "content",
    [b"", b".", b"PK\3\4", b"no pickle", pickle.dumps({"obs": np.zeros(100)})[:50], b"\x80\x04}"],
)
def test_what_is_no_whole_pickle_is_refused(content, tmp_path):
    assert refusal(tmp_path, content).startswith(" is not read: it is damaged or no pickle (")


def test_depth_and_number_of_instructions_have_a_limit(tmp_path):
    deep = pickle.MARK * 60_000 + pickle.TUPLE * 60_000 + pickle.STOP
    assert "it has more than 100000 instructions" in refusal(tmp_path, deep)
    nested = pickle.NONE + pickle.TUPLE1 * 90_000 + pickle.STOP
    assert refusal(tmp_path, nested).startswith(" holds a tuple, expected a dict")
    loop = pickle.EMPTY_DICT + put(0) + text("obs") + get(0) + pickle.SETITEM + pickle.STOP
    assert refusal(tmp_path, loop).startswith(": obs holds a dict, expected a NumPy array")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "ndarray.tofile"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy._core.multiarray", "_reconstruct.__globals__"),
        ("builtins", "getattr"),
        ("_codecs", "encode.__self__"),
        ("copyreg", "_reconstructor"),
    ],
)
def test_a_name_beside_those_of_arrays_is_refused(module, name, tmp_path):
    for words in (asked(module, name), text(module) + text(name) + pickle.STACK_GLOBAL):
        said = refusal(tmp_path, held(text("obs"), words))
        assert said.startswith(f" is not read: it asks for {module}.{name}; only a dict of NumPy")


def test_random_damage_is_refused_or_gives_arrays(tmp_path):
    whole = pickle.dumps({"obs": np.arange(4.0), "state": np.arange(3)}, protocol=2)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            damaged[place] = rng.integers(256)
        with suppress(LabError):
            found = reads(tmp_path, bytes(damaged))
            assert all(isinstance(values, np.ndarray) for values in found.values())
