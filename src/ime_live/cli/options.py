"""Options: the table in `ime_live.settings` as flags and environment variables of a command.

A settings class comes in; a command's function gets the filled-in object as ``settings``. What
a command takes beside them (files, ids) it declares itself, the way Typer reads it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import typer

from ime_live.settings import flag, options, variable


def with_settings(settings: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command's function the options of ``settings``, as its argument ``settings``."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(settings)
        own = [
            parameter
            for parameter in inspect.signature(function, eval_str=True).parameters.values()
            if parameter.name != "settings"
        ]
        declared = [
            inspect.Parameter(
                option.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=typer.Option(
                    option.default,
                    _flags(option.name, option.default),
                    envvar=variable(option.name),
                    help=option.metadata["help"],
                    show_default=bool(option.default != "" and not option.metadata["secret"]),
                ),
                annotation=hints[option.name],
            )
            for option in options(settings)
        ]
        names = [option.name for option in options(settings)]

        def command(**values: object) -> None:
            filled = settings(**{name: values.pop(name) for name in names})
            function(settings=filled, **values)

        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own
        ] + declared
        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _flags(name: str, default: object) -> str:
    return f"{flag(name)}/--no-{flag(name)[2:]}" if isinstance(default, bool) else flag(name)
