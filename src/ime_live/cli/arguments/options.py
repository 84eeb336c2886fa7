"""Options: flags and environment variables of a command, from the table in `ime_live.settings`.

The command's function receives the settings object as ``settings``. It declares its other arguments
(files, ids) itself, as Typer reads them.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_type_hints

import typer

from ime_live.cli.arguments import env_file
from ime_live.cli.running import write_stderr
from ime_live.errors import SettingsError
from ime_live.settings import (
    ENVIRONMENT_PREFIX,
    DemoSettings,
    DoctorSettings,
    LogSettings,
    UpSettings,
    flag,
    options,
    variable,
)

OPTIONS: Final = {
    option.name: option
    for option in (*options(DemoSettings), *options(DoctorSettings), *options(UpSettings))
}
"""All settings by name."""

# Former names → present ones. Help and documents do not show the former names.
_RENAMED: Final = {
    option.metadata["former"]: option.name
    for option in OPTIONS.values()
    if option.metadata["former"]
}

# Of variables: those of all commands, of the client library, and of the extension in C.
_KNOWN: Final = frozenset(
    {
        *(name.upper() for name in (*OPTIONS, *_RENAMED)),
        *("URL", "TOKEN", "ENV_FILE"),
        "NO_EXTENSIONS",
    }
)


def with_settings(
    settings: type[Any], *, only: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of ``settings`` to a command, which gets them as its argument ``settings``.

    If it has an argument ``reread``, it also gets a function that reads the settings again: from
    the same flags and environment, and from the environment file as it is then.

    Args:
        settings: a class of the table.
        only: names of the options that the command uses, each with its help (empty for the usual
            one); the others keep their defaults. None uses all of them.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(settings)
        used = [option for option in options(settings) if only is None or option.name in only]
        arguments = inspect.signature(function, eval_str=True).parameters
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in arguments.values()
            if parameter.name not in {"settings", "reread"}
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

        def command(**values: Any) -> None:  # noqa: ANN401 - as Typer calls it
            context = values.pop(_CONTEXT.name)
            file = values.pop(_ENV_FILE.name)  # `_read_env_file` has read it
            setting_values = {option.name: values.pop(option.name) for option in used}

            def fill() -> Any:  # noqa: ANN401 - of the class `settings`
                try:
                    filled = settings(**setting_values)
                except SettingsError:
                    warn_of_unknown_variables(None)  # the missing name may be misspelt
                    raise
                warn_of_unknown_variables(filled)
                return filled

            def reread() -> Any:  # noqa: ANN401 - of the class `settings`
                env_file.read_again(file)
                rename_variables()
                setting_values.update(_values_without_flag(context, setting_values.keys(), hints))
                return fill()

            if "reread" in arguments:
                values["reread"] = reread
            function(settings=fill(), **values)

        parameters = [_CONTEXT, *own, *declared, _ENV_FILE]
        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _values_without_flag(
    context: Any,  # noqa: ANN401 - Typer's own classes have no public types
    names: Collection[str],
    hints: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the present values of the options that were not given as flags.

    Raises:
        SettingsError: a variable has no value of the option's type; the text names the option.
    """
    setting_values: dict[str, Any] = {}
    for parameter in context.command.params:
        name = parameter.name
        if name in names and context.get_parameter_source(name).name != "COMMANDLINE":
            value, _ = parameter.consume_value(context, {})
            try:
                value = parameter.process_value(context, value)
            except typer.BadParameter as error:
                error.ctx, error.param = context, parameter
                raise SettingsError(error.format_message()) from None
            # Typer converts the values of an enum only when it calls the command.
            is_word = isinstance(hints[name], type) and issubclass(hints[name], StrEnum)
            setting_values[name] = hints[name](value) if is_word else value
    return setting_values


def present_name(name: str) -> str:
    """Return the present name of a flag, given without its dashes."""
    present = _RENAMED.get(name.replace("-", "_"))
    return name if present is None else flag(present)[2:]


def rename_variables() -> None:
    """Copy environment variables with former names to their present names, unless those are set."""
    for former, present in _RENAMED.items():
        value = os.environ.pop(variable(former), "")
        if value and not os.environ.get(variable(present)):
            os.environ[variable(present)] = value
            env_file.rename(variable(former), variable(present))


def warn_of_unknown_variables(settings: object) -> None:
    """Warn about environment variables that look like settings but are not.

    Args:
        settings: settings of the command; with `LogSettings`, the warning is a log line.
    """
    for name in sorted(os.environ):
        suffix = name.removeprefix(ENVIRONMENT_PREFIX)
        if suffix == name or suffix in _KNOWN:
            continue
        near = difflib.get_close_matches(suffix.upper(), _KNOWN, n=1, cutoff=0.75)
        if isinstance(settings, LogSettings):
            import structlog

            from ime_live.logs import configure_logging

            if not structlog.is_configured():
                configure_logging(settings)
            suggestion = {"meant": ENVIRONMENT_PREFIX + near[0]} if near else {}
            structlog.get_logger().warning(
                "environment variable is not a setting", variable=name, **suggestion
            )
        else:
            hint = f"; did you mean {ENVIRONMENT_PREFIX}{near[0]}?" if near else ""
            write_stderr(f"ime-live: {name} is not a setting and has no effect{hint}")


def _read_env_file(path: Path | None) -> Path | None:
    if path is not None:
        env_file.read(path)
        rename_variables()
    return path


_CONTEXT: Final = inspect.Parameter(
    "context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
)

# Eager, so that it is read before the variables are.
_ENV_FILE: Final = inspect.Parameter(
    "env_file",
    inspect.Parameter.KEYWORD_ONLY,
    default=typer.Option(
        None,
        env_file.OPTION,
        envvar=env_file.VARIABLE,
        metavar="FILE",
        is_eager=True,
        callback=_read_env_file,
        help="File with environment variables, one NAME=value per line; variables that are "
        "already set keep their value.",
    ),
    annotation=Path | None,
)


def _option(option: Field[Any], meaning: str | None) -> Any:  # noqa: ANN401 - as Typer has it
    return typer.Option(
        option.default,
        _flags(option.name, option.default),
        envvar=variable(option.name),
        help=meaning or option.metadata["help"],
        metavar=metavar(option),
        **_reader(option.default),
        # Secrets have an empty default, so showing it reveals nothing. The Redis URL's default has
        # no password.
        show_default=option.default != "",
    )


def _reader(default: object) -> dict[str, Any]:
    """Return the arguments of an option by which Typer reads and completes its value.

    Typer's own errors name the libraries it uses, and not the value.
    """
    match default:
        case bool() | str() if not isinstance(default, StrEnum):
            return {}
        case StrEnum():
            kind: Callable[[str], object] = type(default)
            words = [*type(default)]
            rule = f"one of {', '.join(words)}"
        case int():
            kind, words, rule = int, [], "a whole number"
        case _:
            kind, words, rule = float, [], "a number"

    def read(text: object) -> object:
        if not isinstance(text, str):
            return text
        try:
            return kind(text.strip().lower())
        except ValueError:
            raise typer.BadParameter(f"must be {rule}, got {text!r}") from None

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete.lower())]

    return {"parser": read} | ({"autocompletion": complete} if words else {})


def metavar(option: Field[Any]) -> str | None:
    """Return the placeholder of a value in the help; None for a flag without a value."""
    if isinstance(option.default, bool):
        return None
    if isinstance(option.default, StrEnum):
        return "|".join(type(option.default))
    return option.metadata["metavar"] or ("TEXT" if isinstance(option.default, str) else "NUMBER")


def _flags(name: str, default: object) -> str:
    return f"{flag(name)}/--no-{flag(name)[2:]}" if isinstance(default, bool) else flag(name)
