"""Rules for the values of arguments and settings, and the error for a value that breaks one.

A program without a type checker may pass values of any type. A rule refuses a wrong one at once,
with the argument's name, so that no value is silently taken for another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from ime_live.errors import SettingsError

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_PLACE: Final = re.compile(
    r"((?:\[[^\[\]]*\]|[^:/?#]*)(?::\d*)?(?:/[^?#]*)?)(?:([?#]).*)?", re.DOTALL
)
_MAX_NAME: Final = 60
"""Characters of a URL without a scheme that are shown; a longer one may be a token."""


class Rule(Struct, frozen=True):
    """A rule for the value of an argument.

    Attributes:
        text: what the value must be, as ``a number above 0``.
        holds: returns whether a value obeys the rule.
    """

    text: str
    holds: Callable[[Any], bool]

    def or_none(self) -> Rule:
        """Return the same rule for an argument that may also be None."""
        return Rule(f"{self.text} or None", lambda value: value is None or self.holds(value))

    def check(self, name: str, value: object) -> None:
        """Refuse a value that breaks the rule.

        Args:
            name: name of the argument, for the error.
            value: value of the argument.

        Raises:
            SettingsError: the value breaks the rule; the text names the argument.
        """
        if not self.holds(value):
            raise SettingsError(f"{name} must be {self.text}, got {value!r}")


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole_number(value: object) -> bool:
    """Return whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


SWITCH: Final = Rule("True or False", lambda value: isinstance(value, bool))
TEXT: Final = Rule("a text", lambda value: isinstance(value, str))
NUMBER: Final = Rule("a number", is_number)
WHOLE_NUMBER: Final = Rule("a whole number", is_whole_number)
POSITIVE: Final = Rule("a number above 0", lambda value: is_number(value) and value > 0)
COUNT: Final = Rule(
    "a whole number of at least 1", lambda value: is_whole_number(value) and value >= 1
)


def shown_url(url: str) -> str:
    """Return a URL for an error text, without the parts that may be secret, as a quoted text.

    >>> shown_url("ftp://me:secret@example.org/path?token=secret")
    "'ftp://***@example.org/path?***'"
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    elif not _SCHEME.fullmatch(scheme):
        scheme = "***"
    # A password that is not quoted may have any character.
    _, at, rest = rest.rpartition("@")
    match = _PLACE.fullmatch(rest)
    if match is None or (not mark and len(rest) > _MAX_NAME):
        rest = "***"
    else:
        rest = match[1] + (f"{match[2]}***" if match[2] else "")
    return repr(scheme + mark + ("***@" if at else "") + rest)
