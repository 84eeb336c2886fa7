"""Declare an option, check its value, and derive the names of its flag and variable."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import Field, field, fields
from enum import StrEnum
from typing import Any, Final

from ime_live.errors import SettingsError
from ime_live.settings.rule import NUMBER, SWITCH, TEXT, WHOLE_NUMBER, Rule

ENVIRONMENT_PREFIX: Final = "IME_LIVE_"


def option(
    default: Any,  # noqa: ANN401
    help: str,  # noqa: A002 - as every library of command lines calls it
    *,
    secret: bool = False,
    metavar: str = "",
    above: float | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    former: str = "",
    reloadable: bool = False,
) -> Any:  # noqa: ANN401 - a field of any type
    """Declare one option.

    Args:
        default: value if none is given.
        help: a sentence or two: the thing, its unit, and the meaning of 0 or an empty text.
        secret: whether to keep the value out of all output.
        metavar: placeholder of the value in the help; empty takes it from the default's type.
        above: exclusive lower limit of a number; None for no limit.
        minimum: inclusive lower limit of a number; None for no limit.
        maximum: inclusive upper limit of a number; None for no limit.
        former: name before it was renamed; its flag and variable are still accepted.
        reloadable: whether a running program takes a new value when it reloads its settings.
    """
    return field(
        default=default,
        repr=not secret,
        metadata={
            "help": help,
            "secret": secret,
            "metavar": metavar,
            "above": above,
            "minimum": minimum,
            "maximum": maximum,
            "former": former,
            "reloadable": reloadable,
        },
    )


class Checked:
    """Base of every settings class: checks types and numbers on creation."""

    def __post_init__(self) -> None:
        """Check all values, and report the invalid ones in one error.

        Raises:
            SettingsError: the text says for each invalid value what must hold and what was given.
        """
        values = [
            (field, getattr(self, field.name))
            for field in fields(self)  # type: ignore[arg-type] # subclasses are dataclasses
        ]
        # `faults` relies on the types.
        faults = [fault for field, value in values if (fault := _fault_of_type(field, value))]
        if faults := faults or list(self.faults()):
            raise SettingsError("; ".join(faults))

    def faults(self) -> Iterator[str]:
        """Yield an error message for each invalid value; a subclass adds its own rules."""
        faults = (
            _fault_of_number(field, getattr(self, field.name))
            for field in fields(self)  # type: ignore[arg-type] # subclasses are dataclasses
        )
        yield from filter(None, faults)


def _fault_of_type(field: Field[Any], value: object) -> str | None:
    rule = _rule_of_type(field.default)
    got = type(value).__name__ if field.metadata["secret"] else repr(value)
    return None if rule.holds(value) else f"{flag(field.name)} must be {rule.text}, got {got}"


def _rule_of_type(default: object) -> Rule:
    match default:
        case bool():
            return SWITCH
        case int():
            return WHOLE_NUMBER
        case float():
            return NUMBER
        case StrEnum() as word:
            kind = type(word)
            return Rule(f"one of {', '.join(kind)}", lambda value: isinstance(value, kind))
    return TEXT


def _fault_of_number(field: Field[Any], value: object) -> str | None:
    if not isinstance(value, int | float):
        return None
    above, minimum, maximum = (field.metadata[name] for name in ("above", "minimum", "maximum"))
    if above is not None and value <= above:
        rule = f"above {above}"
    elif minimum is not None and value < minimum:
        rule = f"{minimum} or more"
    elif maximum is not None and value > maximum:
        rule = f"{maximum} or less"
    else:
        return None
    return f"{flag(field.name)} must be {rule}, got {value}"


def options(settings: type[Any]) -> tuple[Field[Any], ...]:
    """Return the options of a settings class: its own, then those of each base, as declared."""
    by_name = {field.name: field for field in fields(settings)}
    names = [name for base in settings.__mro__ for name in inspect.get_annotations(base)]
    return tuple(by_name[name] for name in dict.fromkeys(names))


def flag(name: str) -> str:
    """Return an option's flag of the command line: ``redis_url`` is ``--redis-url``."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return an option's variable of the environment: ``redis_url`` is ``IME_LIVE_REDIS_URL``."""
    return ENVIRONMENT_PREFIX + name.upper()
