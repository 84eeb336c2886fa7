"""Write the documents that come from the code.

They are docs/settings.md, docs/commands.md, the JSON Schemas in src/ime_live/schemas, and the API
documents in src/ime_live/gateway/api_docs; of README.md and README.fa.md the table of figures,
which comes from docs/performance.json. ``make docs`` runs it; ``--check`` writes nothing and exits
with 1 if a file is not what it would write. tests/test_documents.py asks the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import typer.main

from docs.api_documents import asyncapi, openapi
from docs.api_documents.schemas import schemas_of
from ime_live.cli import app
from ime_live.contracts import OPTION_TYPES, Contract, Market
from ime_live.gateway.query.value_types import Schema
from ime_live.market import Payload
from ime_live.settings import (
    AuthSettings,
    DemoSettings,
    FeedSettings,
    GatewaySettings,
    HoursSettings,
    HubSettings,
    JwtSettings,
    LogSettings,
    RecordSettings,
    StoreSettings,
    UpSettings,
    flag,
    options,
    variable,
)

FOLDER: Final = Path(__file__).parent
ROOT: Final = FOLDER.parent
SCHEMAS: Final = ROOT / "src" / "ime_live" / "schemas"
API_DOCUMENTS: Final = ROOT / "src" / "ime_live" / "gateway" / "api_docs"
WIDTH: Final = 80

PROGRAM: Final = "ime-live"

FIGURES_START: Final = "<!-- Figures: written by `make docs`; do not edit. -->"
FIGURES_END: Final = "<!-- End of figures. -->"
SERVERS: Final = (PROGRAM, "Nchan (nginx)", "websockets.broadcast", "FastAPI, as usual")
READMES: Final = {
    "README.md": (
        "server",
        "CPU per delivered message",
        "beside ime-live",
        "p99 latency",
        "memory per connection",
        "CPU per handshake",
    ),
    "README.fa.md": (
        "سرور",
        "پردازنده برای هر پیام",
        "نسبت به ime-live",
        "تأخیر p99",
        "حافظهٔ هر اتصال",
        "پردازنده برای برقراری هر اتصال",
    ),
}

# In the order in which somebody who sets up a gateway needs them. Each class stands for the
# options that it declares itself, without those of its bases.
SECTIONS: Final[tuple[tuple[str, type[Any], str], ...]] = (
    ("Gateway", GatewaySettings, "Where it listens, and what it allows a client."),
    ("Redis or Valkey", StoreSettings, "Where it is, and how its keys are named."),
    ("Authentication", AuthSettings, "Whether clients need a token."),
    (
        "Tokens",
        JwtSettings,
        (
            "How tokens are checked. `serve` needs a secret, a public key or a JWKS; several "
            "together are for a change from one to another. `token create` takes the secret, the "
            "audience and the issuer."
        ),
    ),
    ("Feed", FeedSettings, "From the exchange to the store; see [feed.md](feed.md)."),
    ("Exchange", HubSettings, "Where its hub is, and how it is reached."),
    ("Trading hours", HoursSettings, "When the exchange trades, in Tehran's time."),
    ("Recordings", RecordSettings, "How frames are recorded."),
    (
        "Running on one machine",
        UpSettings,
        "`up` takes the options of the gateway and the feed, too.",
    ),
    ("Logs", LogSettings, "Lines on standard error."),
    ("Demo", DemoSettings, "A market of its own, for this machine only."),
)


def documents() -> dict[Path, str]:
    """The generated documents, by path."""
    return {
        FOLDER / "settings.md": settings(),
        FOLDER / "commands.md": commands(),
        SCHEMAS / "contract.json": _as_text(contract_schema()),
        SCHEMAS / "update.json": _as_text(update_schema()),
        API_DOCUMENTS / "openapi.json": _as_text(openapi.document()),
        API_DOCUMENTS / "asyncapi.json": _as_text(asyncapi.document()),
        **{ROOT / name: with_figures(ROOT / name, titles) for name, titles in READMES.items()},
    }


def with_figures(readme: Path, titles: Sequence[str]) -> str:
    """A README with the table of figures of the last ``make bench``.

    Args:
        readme: has a pair of comments, and the table between them.
        titles: of the table's columns.
    """
    measured = json.loads((FOLDER / "performance.json").read_text(encoding="utf-8"))["single"]
    ours = measured[PROGRAM]["cpu_per_delivery"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for server in SERVERS:
        result = measured[server]
        cells = (
            f"**{server}**" if server == PROGRAM else server,
            f"{result['cpu_per_delivery']:.1f} µs",
            f"{result['cpu_per_delivery'] / ours:.1f} ×",
            f"{result['p99'] / 1000:,.0f} ms",
            f"{result['memory_per_connection'] / 1000:,.1f} kB",
            f"{result['cpu_per_handshake']:,.0f} µs",
        )
        lines.append(f"| {' | '.join(cells)} |")
    before, start, rest = readme.read_text(encoding="utf-8").partition(FIGURES_START)
    _, end, after = rest.partition(FIGURES_END)
    return before + start + "\n\n" + "\n".join(lines) + "\n\n" + end + after


def contract_schema() -> Schema:
    """The JSON Schema of a contract's record, as `contracts import` takes it."""
    schema = schemas_of([Contract, Market], _REFERENCE)["Contract"]
    properties = {
        name: {key: value for key, value in each.items() if value is not None}
        for name, each in schema["properties"].items()
    }
    properties["market"] |= {"anyOf": [{"enum": list(Market)}, {"type": "null"}]}
    properties["contractId"]["pattern"] = properties["contractName"]["pattern"] = r"\S"
    properties["ExpirationDate"]["pattern"] = r"^\d{4}-\d{2}-\d{2}$"
    properties["optionType"]["enum"] = [*OPTION_TYPES, None]
    return _HEAD | {
        "title": "A contract",
        "description": (
            "A contract's record in the hash ime:contracts, as `ime-live contracts import` takes "
            "it. A field that the source does not give is null, or left out."
        ),
        "type": "object",
        "properties": properties,
        "required": schema["required"],
    }


def update_schema() -> Schema:
    """The JSON Schema of a message on a contract's channel."""
    return _HEAD | {
        "title": "An update",
        "description": "A message on the channel ime:live:{<id>}: a contract's complete state.",
        "type": "object",
        "properties": {
            "version": {
                "type": ["integer", "null"],
                "exclusiveMinimum": 0,
                "description": (
                    "Microseconds since the Unix epoch, growing with each state of a contract. "
                    "Without it, each gateway stamps the message when it comes."
                ),
            },
            "data": {"$ref": _REFERENCE.format(name="Payload")},
        },
        "required": ["data"],
        "definitions": schemas_of([Payload], _REFERENCE),
    }


_REFERENCE: Final = "#/definitions/{name}"
_HEAD: Final[Schema] = {"$schema": "http://json-schema.org/draft-07/schema#"}


def _as_text(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def settings() -> str:
    """The table of all settings."""
    used = {path: {p.name for p in command.params} for path, command in _commands()}
    lines = [
        "# Settings",
        "",
        "<!-- Generated from src/ime_live/settings by `make docs`. Do not edit. -->",
        "",
        (
            "Every setting is a flag of the commands that use it and an environment variable. The "
            "flag goes before the variable, the variable before the default. Of a switch, `--no-…` "
            "is the contrary; its variable takes `true` or `false`. Words are taken in upper and "
            "lower case. Sizes are in bytes, times in seconds. A variable `IME_LIVE_…` that is no "
            "setting is said when a command starts."
        ),
        "",
        (
            "Secrets are marked 🔒. They are in no log and no error text; give them in the "
            "environment, since every user of a machine can read the flags of its processes."
        ),
    ]
    for title, settings_class, text in SECTIONS:
        own = _own(settings_class)
        names = {option.name for option in own}
        by = [path for path, parameters in used.items() if names <= parameters]
        lines += ["", f"## {title}", "", text, "", f"Commands: {_listed(by)}.", ""]
        lines += ["| Flag | Environment variable | Default | Meaning |", "|---|---|---|---|"]
        lines += [_row(option) for option in own]
    return "\n".join(lines) + "\n"


def _own(settings_class: type[Any]) -> list[Field[Any]]:
    inherited = {
        option.name
        for base in settings_class.__mro__[1:]
        if hasattr(base, "__dataclass_fields__")
        for option in options(base)
    }
    return [option for option in options(settings_class) if option.name not in inherited]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"[`{name}`](commands.md#{_anchor(name)})" for name in names)


def _anchor(name: str) -> str:
    return f"{PROGRAM} {name}".replace(" ", "-")


def _row(option: Field[Any]) -> str:
    meaning = option.metadata["help"]
    if option.metadata["secret"]:
        meaning = "🔒 " + meaning
    if isinstance(option.default, StrEnum):
        meaning += f" One of {', '.join(f'`{value}`' for value in type(option.default))}."
    cells = [f"`{flag(option.name)}`", f"`{variable(option.name)}`", _default(option), meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(option: Field[Any]) -> str:
    match option.default:
        case "":
            return "–"
        case bool() as value:
            return f"`{str(value).lower()}`"
        case float() as value if value.is_integer():
            return f"`{int(value)}`"
        case value:
            return f"`{value}`"


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
        "| 0 | Done; or `serve` and `demo` were told to stop. |",
        "| 1 | Something failed, or a part of it: a line was bad, Redis cannot be reached. |",
        "| 2 | Used wrongly: an option, or a file that cannot be read. |",
        "| 130, 143 | Ended by Ctrl-C, by SIGTERM, before it was done. |",
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
    taken = [{parameter.name for parameter in command.params} for _, command in _commands()]
    found = {
        title: {each.name: each.metadata["help"] for each in _own(kind)}
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
        parameter.hidden = parameter.hidden or parameter.name in hidden
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


def _commands(command: _Command = None, path: str = "") -> Iterator[tuple[str, _Command]]:
    """All commands that are no groups, with their paths."""
    command = command or typer.main.get_command(app)
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, each in below.items():
        yield from _commands(each, f"{path} {name}".strip())


def main() -> None:
    """Write the documents, or check them."""
    stale = [
        path
        for path, text in documents().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"run `make docs`: {', '.join(path.name for path in stale)} not up to date")
        return
    for path in stale:
        path.write_text(documents()[path], encoding="utf-8")
        print(f"written: {path}")


if __name__ == "__main__":
    main()
