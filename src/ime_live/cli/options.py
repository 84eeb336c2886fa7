"""Options: the table in `ime_live.settings` as flags and environment variables of a command.

A settings class comes in; a command's function gets the filled-in object as ``settings``. What
a command takes beside them (files, ids) it declares itself, the way Typer reads it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import Field
from enum import StrEnum
from typing import Any, get_type_hints

import typer

from ime_live.settings import flag, options, variable


def with_settings(
    settings: type[Any], *, only: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command's function the options of ``settings``, as its argument ``settings``.

    Args:
        settings: a class of the table.
        only: the names of those options that the command uses, if not all of them, and what
            each means for it; the others keep their defaults.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(settings)
        used = [option for option in options(settings) if only is None or option.name in only]
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.name != "settings"
        ]
        declared = [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_option(option, (only or {}).get(option.name)),
                annotation=hints[option.name],
            )
            for option in used
        ]

        def command(**values: object) -> None:
            filled = settings(**{option.name: values.pop(option.name) for option in used})
            function(settings=filled, **values)

        parameters = own + declared
        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _option(option: Field[Any], meaning: str | None) -> Any:  # noqa: ANN401 - as Typer has it
    return typer.Option(
        option.default,
        _flags(option.name, option.default),
        envvar=variable(option.name),
        help=meaning or option.metadata["help"],
        metavar=metavar(option),
        # A secret has no default but the empty one, except an address without a password.
        show_default=option.default != "",
    )


def metavar(option: Field[Any]) -> str | None:
    """What the help shows in the place of a value; None for a flag that takes none."""
    if isinstance(option.default, bool):
        return None
    if isinstance(option.default, StrEnum):
        return "|".join(type(option.default))
    return option.metadata["metavar"] or ("TEXT" if isinstance(option.default, str) else "NUMBER")


def _flags(name: str, default: object) -> str:
    return f"{flag(name)}/--no-{flag(name)[2:]}" if isinstance(default, bool) else flag(name)
