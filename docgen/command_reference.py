"""Write docs/commands.md: the help of every command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import typer.main

from docgen.settings_reference import PROGRAM, SECTIONS, own_options
from ime_live.cli import app
from ime_live.settings import flag

WIDTH: Final = 80


def commands() -> str:
    """Return the help of every command, without the settings that several commands share."""
    lines = [
        "# Commands",
        "",
        "<!-- Generated from `ime-live … --help` by `make docs`. Do not edit. -->",
        "",
        (
            "Settings that several commands share are in [settings.md](settings.md) and left out "
            "here. `-h` or `--help` after a command shows all of its options."
        ),
        "",
        "| Exit status | Meaning |",
        "|---|---|",
        "| 0 | Success; or `serve` or `demo` was stopped. |",
        "| 1 | Complete or partial failure, such as a bad line or an unreachable Redis. |",
        "| 2 | Wrong usage: a wrong option, or a file that cannot be read. |",
        "| 130, 143 | Ended by Ctrl-C or by SIGTERM before it was done. |",
    ]
    shared = _shared()
    for path, text, helps in _helps(typer.main.get_command(app), None, PROGRAM, shared):
        lines += ["", f"## {path}", "", "```text", text.rstrip(), "```"]
        links = []
        for title, section in shared.items():
            if names := _described(section, helps):
                link = f"[{title}](settings.md#{title.lower().replace(' ', '-')})"
                listed = ", ".join(f"`{flag(name)}`" for name in names)
                links.append(link if len(names) == len(section) else f"{link} ({listed})")
        if links:
            lines += ["", f"Settings: {', '.join(links)}."]
    return "\n".join(lines) + "\n"


def _shared() -> dict[str, dict[str, str]]:
    """Return the sections of settings that several commands take as a whole: title → help."""
    options_by_command = options_of_commands().values()
    sections = {
        title: {option.name: option.metadata["help"] for option in own_options(kind)}
        for title, kind, _ in SECTIONS
    }
    return {
        title: section
        for title, section in sections.items()
        if sum(section.keys() <= options for options in options_by_command) > 1
    }


def _described(section: Mapping[str, str], helps: Mapping[str, str]) -> list[str]:
    """Return the options that a section describes; none if the command has other help for one."""
    names = [name for name in section if name in helps]
    return names if all(helps[name] == section[name] for name in names) else []


# Of Typer's own classes, whose names have moved between its versions.
_Command = Any
_Context = Any


def _helps(
    command: _Command, parent: _Context, name: str, shared: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield path, help and options' help of a command and its subcommands."""
    helps = {parameter.name: getattr(parameter, "help", "") for parameter in command.params}
    hidden = {name for section in shared.values() for name in _described(section, helps)}
    # The command object is used for this document only.
    command.add_help_option = False
    for parameter in command.params:
        parameter.hidden = parameter.hidden or parameter.name in {*hidden, "env_file"}
    # Fixed widths, so that the text does not depend on a terminal.
    context = command.context_class(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        **command.context_settings,
    )
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield context.command_path, text, helps
    for subname, subcommand in getattr(command, "commands", {}).items():
        yield from _helps(subcommand, context, subname, shared)


def options_of_commands() -> dict[str, set[str]]:
    """Return the names of the options of each command, by its path."""
    return {path: {parameter.name for parameter in command.params} for path, command in _commands()}


def _commands(command: _Command = None, path: str = "") -> Iterator[tuple[str, _Command]]:
    """Yield all commands except groups, with their paths."""
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, subcommand in below.items():
        yield from _commands(subcommand, f"{path} {name}".strip())
