"""Inputs made of others: cut, spliced, repeated and nested.

Nesting shows where a reader goes deeper than Python allows; repeating shows where its time or its
memory grows faster than its input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from hypothesis import strategies as st

from fuzz.target import MAX_INPUT

_VALUE: Final = re.compile(
    rb'(?<=[:,\[ ])"[^"\\]*"(?!\s*:)|\b\d+(?:\.\d+)?\b|\bnull\b|\btrue\b|\bfalse\b'
)

# The decoder allows as many levels as Python has frames left, some 950 where programs run it; the
# use of the result may need a few more.
_DEPTHS: Final[Sequence[int]] = (2, 6, 60, *range(850, 1000, 3))

_COMMON: Final = (
    b"",
    b"\x00",
    b"\n",
    b"\r\n",
    b" ",
    b'"',
    b"\\",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"NaN",
    b"1e400",
    b"9" * 400,
    b"9" * 5_000,
    b"99999999999999999999",
    b"-0.0",
    b"1e15",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b'"\\ud800"',
    "سكه۱".encode(),
    "‌".encode(),
)
"""Words of all targets: the limits of numbers and texts."""


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Inputs that resemble others.

    Args:
        draw: of hypothesis.
        seeds: the others.
        words: what is inserted.
    """
    data = draw(st.sampled_from(seeds)) if seeds else b""
    for _ in range(draw(st.integers(0, 4))):
        # A number draws faster than `st.randoms`, each of whose results would be drawn by itself.
        data = mutate(data, seeds, words, Random(draw(st.integers(0, 2**32))))
    return data[:MAX_INPUT]


def mutate(data: bytes, seeds: Sequence[bytes], words: Sequence[bytes], random: Random) -> bytes:
    """Return an input with one change."""
    begin = random.randint(0, len(data))
    end = min(len(data), begin + random.choice((0, 0, 1, 1, 2, 4, 8, 32, len(data))))
    before, part, rest = data[:begin], data[begin:end], data[end:]
    match random.randrange(7):
        case 0:
            return before + rest
        case 1 if words:
            return before + random.choice(words) + rest
        case 2:
            return before + random.choice(_COMMON) + rest
        case 3:
            return before + random.randbytes(random.randint(1, 4)) + rest
        case 4:
            return before + part * random.choice((2, 3, 20)) + rest
        case 5 if seeds:
            other = random.choice(seeds)
            return before + other[random.randint(0, len(other)) :]
    return nested(data, random)


def nested(data: bytes, random: Random) -> bytes:
    """Return an input with one of its JSON values in lists or objects, or replaced by a number."""
    values = list(_VALUE.finditer(data))
    if not values:
        return data
    value = random.choice(values)
    depth = random.choice(_DEPTHS)
    begin, end = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"[0,", b"]")))
    inner: bytes = value[0]
    if begin == b"[":
        inner = random.choice((inner, b"", b"9" * 400))
    return data[: value.start()] + begin * depth + inner + end * depth + data[value.end() :]


def repeated(data: bytes, random: Random, size: int = MAX_INPUT) -> bytes:
    """Return an input of ``size`` bytes in which one part is repeated."""
    begin = random.randint(0, max(0, len(data) - 1))
    end = min(len(data), begin + random.choice((1, 1, 2, 3, 8, 40, len(data))))
    part = data[begin:end] or b"x"
    count = max(1, (size - len(data)) // len(part))
    return (data[:begin] + part * count + data[end:])[:size]


def grown(seeds: Sequence[bytes], random: Random) -> Iterator[bytes]:
    """Iterate without end over inputs in which something is repeated or nested."""
    while True:
        seed = random.choice(seeds) if seeds else b""
        yield repeated(seed, random)
        yield nested(seed, random)[:MAX_INPUT]
