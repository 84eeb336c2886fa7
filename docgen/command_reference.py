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
    """The help of every command, without the settings that several commands share."""
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
        "| 0 | Success; or `serve` and `demo` were told to stop. |",
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
    """The sections of settings that several commands take as a whole: title → options' help."""
    taken = options_of_commands().values()
    found = {
        title: {each.name: each.metadata["help"] for each in own_options(kind)}
        for title, kind, _ in SECTIONS
    }
    return {
        title: section
        for title, section in found.items()
        if sum(section.keys() <= each for each in taken) > 1
    }


def _described(section: Mapping[str, str], helps: Mapping[str, str]) -> list[str]:
    """The options that a section describes; none if the command gives one another meaning."""
    names = [name for name in section if name in helps]
    return names if all(helps[name] == section[name] for name in names) else []


# Of Typer's own classes, whose names have moved between its versions.
_Command = Any
_Context = Any


def _helps(
    command: _Command, parent: _Context, name: str, shared: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Path, help, and help of each option of a command and of those below it."""
    helps = {each.name: getattr(each, "help", "") for each in command.params}
    hidden = {name for section in shared.values() for name in _described(section, helps)}
    # The command is made for this document.
    command.add_help_option = False
    for parameter in command.params:
        parameter.hidden = parameter.hidden or parameter.name in {*hidden, "env_file"}
    # The widths are given, so that the terminal's is not asked for.
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
    for below, each in getattr(command, "commands", {}).items():
        yield from _helps(each, context, below, shared)


def options_of_commands() -> dict[str, set[str]]:
    """The names of the options of each command, by its path."""
    return {path: {each.name for each in command.params} for path, command in _commands()}


def _commands(command: _Command = None, path: str = "") -> Iterator[tuple[str, _Command]]:
    """All commands except groups, with their paths."""
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, each in below.items():
        yield from _commands(each, f"{path} {name}".strip())
