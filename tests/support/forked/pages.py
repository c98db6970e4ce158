"""Large pages for the memory of a process that is forked often.

A fork copies a line of a table for each page. Of 4 KiB that is most of a fork's time here: a
process with torch and the tests has 200,000.
"""

import ctypes

HUGE = 2 << 20
"""Bytes of a large page (x86-64, and aarch64 with pages of 4 KiB)."""
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
"""Linux has the second from 6.1 on; an older one refuses it and nothing changes."""


def enlarge() -> int:
    """The number of large pages into which this process's own memory was brought together."""
    advise = ctypes.CDLL(None, use_errno=True).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    count = 0
    for begin, end in own_memory():
        begin, end = -(-begin // HUGE) * HUGE, end // HUGE * HUGE
        if begin < end:
            advise(begin, end - begin, MADV_HUGEPAGE)
        for place in range(begin, end, HUGE):
            count += advise(place, HUGE, MADV_COLLAPSE) == 0
    return count


def own_memory() -> list[tuple[int, int]]:
    """(begin, end) of each region that is written to and belongs to no file."""
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            words = line.split()
            if "w" in words[1] and "p" in words[1] and words[5:] in ([], ["[heap]"]):
                begin, end = (int(text, 16) for text in words[0].split("-"))
                found.append((begin, end))
    return found
