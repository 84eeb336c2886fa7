"""Types of query parameters: each reads values, and describes them as JSON Schema. No I/O.

The pairs that a type reads are the names and values of one parameter as they were sent. There is at
least one pair. They are grouped by spelling, with the documented spelling first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from msgspec import Struct

from ime_live.errors import RefusedError
from ime_live.spelling import fold

Schema = dict[str, Any]
"""A JSON Schema, draft 7."""

Pairs = Sequence[tuple[str, str]]
"""Names and values of parameters, percent-decoded."""

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_FIRST_YEAR: Final = 1900
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})


class ValueType(Protocol):
    """The type of a parameter's value, and its limits."""

    def read(self, pairs: Pairs) -> Any:  # noqa: ANN401 - each type has its own
        """Return the value; None if all texts are blank. Raises RefusedError (1008)."""

    def schema(self) -> Schema:
        """Return the schema of the value, without the parameter's description and default."""


class Switch(Struct, frozen=True):
    """A boolean. If several spellings were sent, it is true if one of them is."""

    def read(self, pairs: Pairs) -> bool:
        """Return the boolean; of each spelling, the last value counts."""
        return any(_is_on(name, text) for name, text in dict(pairs).items())

    def schema(self) -> Schema:
        """Return the schema."""
        return {"type": "boolean"}


def _is_on(name: str, text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise RefusedError(f"{name} is neither true nor false: {text}", kind=f"bad {name}")


class Number(Struct, frozen=True):
    """A number.

    Attributes:
        minimum: the smallest number that is accepted.
        maximum: the largest number that is accepted.
        example: example for the documents.
    """

    minimum: float
    maximum: float
    example: float

    def read(self, pairs: Pairs) -> float:
        """Return the last number."""
        name, text = pairs[-1]
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not self.minimum <= number <= self.maximum:
            raise RefusedError(
                f"{name} is not a number from {self.minimum:g} to {self.maximum:g}: {text}",
                kind=f"bad {name}",
            )
        return number

    def schema(self) -> Schema:
        """Return the schema."""
        return {
            "type": "number",
            "minimum": self.minimum,
            "maximum": self.maximum,
            "examples": [self.example],
        }


class Text(Struct, frozen=True):
    """Any text.

    Attributes:
        example: example for the documents; empty for none.
        blank: whether a blank text is a value; otherwise it is ignored.
    """

    example: str = ""
    blank: bool = True

    def read(self, pairs: Pairs) -> str | None:
        """Return the last text."""
        text = pairs[-1][1]
        return text if self.blank or fold(text) else None

    def schema(self) -> Schema:
        """Return the schema."""
        schema: Schema = {"type": "string"}
        if not self.blank:
            schema["pattern"] = r"\S"
        return schema | ({"examples": [self.example]} if self.example else {})


class Day(Struct, frozen=True):
    """A day of the Gregorian calendar.

    Attributes:
        example: example for the documents.
    """

    example: str

    def read(self, pairs: Pairs) -> date:
        """Return the last day."""
        name, text = pairs[-1]
        folded = fold(text)
        try:
            day = date.fromisoformat(folded) if _DAY.fullmatch(folded) else None
        except ValueError:
            day = None
        if day is None or day.year < _FIRST_YEAR:
            raise RefusedError(
                f"{name} must be a day as YYYY-MM-DD (Gregorian), got {text!r}", kind=f"bad {name}"
            )
        return day

    def schema(self) -> Schema:
        """Return the schema."""
        return {"type": "string", "format": "date", "examples": [self.example]}


class Texts(Struct, frozen=True):
    """A list of texts, each in a parameter of its own; none may be blank.

    Attributes:
        noun: description of a text, for errors.
        example: example for the documents.
    """

    noun: str
    example: str

    def read(self, pairs: Pairs) -> tuple[str, ...]:
        """Return the texts without surrounding blanks and repetitions."""
        texts = tuple(dict.fromkeys(text.strip() for _, text in pairs))
        if "" in texts:
            name = pairs[-1][0]
            raise RefusedError(f"{name} must be {self.noun}, got an empty text", kind=f"bad {name}")
        return texts

    def schema(self) -> Schema:
        """Return the schema."""
        return {
            "type": "array",
            "items": {"type": "string", "pattern": r"\S"},
            "minItems": 1,
            "examples": [[self.example]],
        }


class Secret(Struct, frozen=True):
    """A text that must not be shown; an empty text is ignored."""

    def read(self, pairs: Pairs) -> str | None:
        """Return the last text."""
        return pairs[-1][1] or None

    def schema(self) -> Schema:
        """Return the schema."""
        return {"type": "string", "format": "password"}


class Choice(Struct, frozen=True):
    """One word of an enumeration.

    Attributes:
        words: the enumeration.
    """

    words: type[StrEnum]

    def read(self, pairs: Pairs) -> StrEnum:
        """Return the last word, as a member of the enumeration."""
        name, text = pairs[-1]
        try:
            return self.words(text)
        except ValueError:
            raise RefusedError(
                f"{name} must be one of {', '.join(self.words)}, got {text!r}",
                kind=f"unknown {name}",
            ) from None

    def schema(self) -> Schema:
        """Return the schema."""
        return {"type": "string", "enum": [word.value for word in self.words]}


class Moment(Struct, frozen=True):
    """A date of the Gregorian calendar, or a date and time, in ISO 8601.

    Attributes:
        example: example for the documents.
    """

    example: str

    def read(self, pairs: Pairs) -> date | datetime:
        """Return the last date, or the last date and time, which is naive without an offset."""
        name, text = pairs[-1]
        folded = fold(text)
        day, _, clock = folded.partition("T" if "T" in folded else " ")
        try:
            moment = date.fromisoformat(day)
            if clock:
                # In a query string a plus sign is a space: "…+03:30" arrives as "… 03:30".
                moment = datetime.fromisoformat(f"{day}T{clock.replace(' ', '+')}")
        except ValueError:
            moment = date.min
        if moment.year < _FIRST_YEAR:  # 1405 is a Jalali year
            raise RefusedError(
                f"{name} must be a date or a time in ISO 8601 (Gregorian), got {text!r}",
                kind=f"bad {name}",
            )
        return moment

    def schema(self) -> Schema:
        """Return the schema."""
        return {"type": "string", "examples": [self.example]}


class Words(Struct, frozen=True):
    """A subset of a few words, in several parameters or separated by commas.

    Attributes:
        words: all words, in the order in which they are returned.
        noun: description of a word, for errors.
        example: example for the documents.
    """

    words: tuple[str, ...]
    noun: str
    example: tuple[str, ...]

    def read(self, pairs: Pairs) -> tuple[str, ...]:
        """Return the words without repetitions, in the order of ``words``."""
        requested = {word.strip() for _, text in pairs for word in text.split(",")}
        if unknown := sorted(requested.difference(self.words)):
            raise RefusedError(
                f"no such {self.noun}: {unknown[0] or 'none is named'}; there are "
                f"{', '.join(self.words)}",
                kind=f"bad {pairs[-1][0]}",
            )
        return tuple(word for word in self.words if word in requested)

    def schema(self) -> Schema:
        """Return the schema."""
        return {
            "type": "array",
            "items": {"type": "string", "enum": list(self.words)},
            "minItems": 1,
            "examples": [list(self.example)],
        }


class Names(Struct, frozen=True):
    """Names or ids of contracts, each in a parameter of its own; blank ones are ignored.

    Attributes:
        item: schema of a name or id.
        example: example for the documents; empty for none.
        limited: whether `--max-contracts` limits their number.
        as_sent: whether to return them in the order sent, with surrounding blanks and repetitions.
    """

    item: Schema
    example: str = ""
    limited: bool = True
    as_sent: bool = False

    def read(self, pairs: Pairs) -> tuple[str, ...] | None:
        """Return the names or ids; None if all are blank."""
        names: Iterable[str] = (text for _, text in pairs if text.strip())
        if not self.as_sent:
            names = dict.fromkeys(text.strip() for text in names)
        return tuple(names) or None

    def schema(self) -> Schema:
        """Return the schema; `--max-contracts` is added by `api_docs.documents`."""
        schema: Schema = {"type": "array", "items": self.item}
        if self.limited:
            schema["minItems"] = 1
        if self.example:
            schema["examples"] = [[self.example]]
        return schema
