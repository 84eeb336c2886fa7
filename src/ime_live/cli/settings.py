"""The command that shows the settings of another command, and where each comes from."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from ime_live.cli.arguments import env_file
from ime_live.cli.arguments.options import OPTIONS
from ime_live.errors import SettingsError
from ime_live.settings import flag, variable

_NOT_SHOWN: Final = "(set, not shown)"

# The arguments may be options of the other command.
CONTEXT: Final = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def settings(
    context: typer.Context,
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND [OPTION]...",
            help="Command with its options, such as: serve --port 9000.",
        ),
    ],
) -> None:
    """Show the settings of a command, and where each comes from.

    Each line has the flag, the value and its source: flag, environment variable, environment file
    or default. Secrets are not shown. The command is not run.
    """
    # Typer's own classes read the arguments, and have no public types.
    target: Any = context.find_root().command
    names: list[str] = []
    arguments = [*command]
    while arguments and arguments[0] in getattr(target, "commands", ()):
        names.append(arguments.pop(0))
        target = target.commands[names[-1]]
    if hasattr(target, "commands"):
        raise SettingsError(
            f"the command must be one of {', '.join(target.commands)}, "
            f"got {repr(arguments[0]) if arguments else 'none'}"
        )
    parsed = target.make_context(" ".join(names), arguments, parent=context.parent)
    lines = [
        (
            flag(parameter.name),
            _shown(parameter.name, parsed.params[parameter.name]),
            _source(parsed, parameter.name),
        )
        for parameter in target.params
        if parameter.name in OPTIONS
    ]
    first, second = (max((len(line[at]) for line in lines), default=0) for at in (0, 1))
    for name, value, source in lines:
        typer.echo(f"{name:{first}}  {value:{min(second, 40)}}  {source}")


def _shown(name: str, value: object) -> str:
    option = OPTIONS[name]
    if option.metadata["secret"] and value != option.default:
        return _NOT_SHOWN
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value == "" else str(value)


def _source(parsed: Any, name: str) -> str:  # noqa: ANN401 - see above
    source = parsed.get_parameter_source(name).name
    if source == "ENVIRONMENT":
        path = env_file.path_of(variable(name))
        return str(path) if path else variable(name)
    return "flag" if source == "COMMANDLINE" else "default"
