"""Declare an option, check its value, and derive the names of its flag and variable."""

from __future__ import annotations

import inspect
import math
from dataclasses import Field, field, fields
from typing import Any, Final

from ime_live.errors import SettingsError

ENVIRONMENT_PREFIX: Final = "IME_LIVE_"


def option(
    default: Any,  # noqa: ANN401
    help: str,  # noqa: A002 - as every library of command lines calls it
    *,
    secret: bool = False,
    metavar: str = "",
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Any:  # noqa: ANN401 - a field of any type
    """Declare one option.

    Args:
        default: value if none is given.
        help: a sentence or two: the thing, its unit, and the meaning of 0 or an empty text.
        secret: whether to keep the value out of all output.
        metavar: placeholder of the value in the help; empty takes it from the default's type.
        above: exclusive lower limit of a number; None for no limit.
        least: inclusive lower limit of a number; None for no limit.
        most: inclusive upper limit of a number; None for no limit.
    """
    return field(
        default=default,
        repr=not secret,
        metadata={
            "help": help,
            "secret": secret,
            "metavar": metavar,
            "above": above,
            "least": least,
            "most": most,
        },
    )


class Checked:
    """Base of every settings class: checks the numbers on creation."""

    def __post_init__(self) -> None:
        """Refuse numbers that are out of range.

        Raises:
            SettingsError: a number is out of range; the text names the option.
        """
        for each in fields(self):  # type: ignore[arg-type] # subclasses are dataclasses
            _check_number(each, getattr(self, each.name))


def _check_number(field: Field[Any], value: object) -> None:
    if not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        raise SettingsError(f"{flag(field.name)} must be a number, got {value}")
    above, least, most = (field.metadata[name] for name in ("above", "least", "most"))
    if above is not None and value <= above:
        raise SettingsError(f"{flag(field.name)} must be above {above}, got {value}")
    if least is not None and value < least:
        raise SettingsError(f"{flag(field.name)} must be {least} or more, got {value}")
    if most is not None and value > most:
        raise SettingsError(f"{flag(field.name)} must be {most} or less, got {value}")


def options(settings: type[Any]) -> tuple[Field[Any], ...]:
    """Return the options of a settings class: its own, then those of each base, as declared."""
    found = {each.name: each for each in fields(settings)}
    names = [name for base in settings.__mro__ for name in inspect.get_annotations(base)]
    return tuple(found[name] for name in dict.fromkeys(names))


def flag(name: str) -> str:
    """Return an option's flag of the command line: ``redis_url`` is ``--redis-url``."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return an option's variable of the environment: ``redis_url`` is ``IME_LIVE_REDIS_URL``."""
    return ENVIRONMENT_PREFIX + name.upper()
