"""Normalize names and texts, so that different spellings compare equal.

Persian texts are written with letters of other languages, with or without joiners and vowels, and
with three kinds of digits. Names are compared in their normal form.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Invisible characters: joiners, direction marks, variation selectors, the byte order mark.
_UNSEEN: Final = dict.fromkeys(
    (
        *(0x00AD, 0x034F, 0x061C, 0x180E, 0xFEFF),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
    )
)

_MADDAH: Final = 0x0653

# Stripped from the ends of a name: invisible characters and Unicode's whitespace.
_OUTER: Final = "".join(map(chr, _UNSEEN)) + "".join(
    filter(str.isspace, map(chr, (*range(0x21), 0x85, 0xA0, *range(0x1680, 0x3001))))
)

# Marks over, under and between Persian letters that do not belong to a name: tatweel, vowels,
# hamza. The maddah does: alef with it is a letter of its own.
_ORNAMENTS: Final = dict.fromkeys(
    (
        *(0x0640, 0x0670),
        *range(0x0610, 0x061B),
        *(mark for mark in range(0x064B, 0x0660) if mark != _MADDAH),
        *(mark for mark in range(0x06D6, 0x06EE) if mark not in {0x06DD, 0x06DE, 0x06E9}),
        *range(0x08D3, 0x0900),
    )
)

_SAME: Final[dict[int, str | None]] = {
    # Keyboards of other languages type other letters for the same sound.
    **dict.fromkeys(map(ord, "يى"), "ی"),
    **dict.fromkeys(map(ord, "كڪ"), "ک"),
    **dict.fromkeys(map(ord, "ہھە"), "ه"),
    **{0x06F0 + n: str(n) for n in range(10)},  # Persian digits
    **{0x0660 + n: str(n) for n in range(10)},  # Arabic-Indic digits
    _MADDAH: None,  # over another letter than alef
}

# If one of two parts of a word is Persian, a blank between them may stand for a joiner.
_JOINT: Final = re.compile(r"(?<=\w)\s+(?=[\u0620-\u08ff])|(?<=[\u0620-\u08ff])\s+(?=\w)")


def fold(text: str) -> str:
    """Normalize ``text`` for comparison: two spellings of one text give the same result.

    It applies Unicode NFKC, unifies ``ي/ی``, ``ك/ک`` and all digits, and drops invisible
    characters, tatweel, diacritics and outer blanks. Upper and lower case stay different, as in the
    exchange's codes.

    >>> fold("سكه۰۳۱۲پ٠١") == fold("سِکّـه0312پ01")
    True
    """
    if text.isascii():
        return text.strip()
    # Invisible characters go first: they would keep a letter and its accent apart. Letters are
    # composed last, when everything that is dropped is gone.
    decomposed = unicodedata.normalize("NFKD", text.translate(_UNSEEN)).translate(_ORNAMENTS)
    return unicodedata.normalize("NFC", decomposed).translate(_SAME).strip()


def trim(name: str) -> str:
    """Strip blanks and invisible characters from both ends of ``name``."""
    return name.strip(_OUTER)


def fold_name(name: str) -> str:
    """Normalize a name as `fold` does, and drop the blanks inside Persian words.

    People often type a blank, or nothing, in place of a joiner.

    >>> fold_name("نیم‌سکه") == fold_name("نیم سکه") == fold_name("نیمسکه")
    True
    """
    return _JOINT.sub("", fold(name))


def pluralize(number: int, noun: str) -> str:
    """Format a count with its noun, in the singular for 1 and in the plural otherwise.

    >>> pluralize(1, "bad line"), pluralize(0, "bad line")
    ('1 bad line', '0 bad lines')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
