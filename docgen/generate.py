"""Write the documents that come from the code.

They are docs/settings.md and docs/commands.md, the JSON Schemas in src/ime_live/schemas and (for
the site) docs/schemas, the API documents in src/ime_live/gateway/api_docs, and in README.md and
README.fa.md the table of figures, which comes from docs/performance.json, as do the tables of
sizing in docs/operations.md. ``make docs`` runs it;
``--check`` writes nothing, and exits with 1 if a file differs from the generated text.
tests/test_documents.py checks the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from docgen.api_documents import asyncapi, openapi
from docgen.api_documents.schemas import schemas_of
from docgen.command_reference import commands, options_of_commands
from docgen.settings_reference import PROGRAM, settings
from docgen.sizing import sizing
from ime_live.contracts import OPTION_TYPES, Contract, Market
from ime_live.gateway.query.value_types import Schema
from ime_live.market import Payload

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "docs"
SCHEMAS: Final = (ROOT / "src" / "ime_live" / "schemas", FOLDER / "schemas")
API_DOCUMENTS: Final = ROOT / "src" / "ime_live" / "gateway" / "api_docs"

FIGURES_START: Final = "<!-- Figures: written by `make docs`; do not edit. -->"
FIGURES_END: Final = "<!-- End of figures. -->"
SIZING_START: Final = "<!-- Sizing: written by `make docs`; do not edit. -->"
SIZING_END: Final = "<!-- End of sizing. -->"
SERVERS: Final = (PROGRAM, "Nchan (nginx)", "websockets.broadcast", "FastAPI, as usual")
READMES: Final = {
    "README.md": (
        "server",
        "CPU per delivered message",
        "compared with ime-live",
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


def documents() -> dict[Path, str]:
    """Return the generated documents, by path."""
    return {
        FOLDER / "settings.md": settings(options_of_commands()),
        FOLDER / "commands.md": commands(),
        **{folder / "contract.json": _as_text(contract_schema()) for folder in SCHEMAS},
        **{folder / "update.json": _as_text(update_schema()) for folder in SCHEMAS},
        API_DOCUMENTS / "openapi.json": _as_text(openapi.document()),
        API_DOCUMENTS / "asyncapi.json": _as_text(asyncapi.document()),
        FOLDER / "operations.md": with_sizing(FOLDER / "operations.md"),
        **{ROOT / name: with_figures(ROOT / name, titles) for name, titles in READMES.items()},
    }


def with_figures(readme: Path, titles: Sequence[str]) -> str:
    """Return a README with the table of figures of the last ``make bench``.

    Args:
        readme: file with a pair of comments, and the table between them.
        titles: titles of the table's columns.
    """
    performance = json.loads((FOLDER / "performance.json").read_text(encoding="utf-8"))
    measured = performance["single"]
    base = measured[PROGRAM]["cpu_per_delivery"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for server in SERVERS:
        result = measured[server]
        # Only some servers are measured in the storm of connections as well.
        storm = performance["storm"].get(server, result)
        memory = max(each["memory_per_connection"] for each in (result, storm))
        cells = (
            f"**{server}**" if server == PROGRAM else server,
            f"{result['cpu_per_delivery']:.1f} µs",
            f"{result['cpu_per_delivery'] / base:.1f} ×",
            f"{result['p99'] / 1000:,.0f} ms",
            f"{memory / 1000:,.1f} kB",
            f"{result['cpu_per_handshake']:,.0f} µs",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return _filled(readme, FIGURES_START, FIGURES_END, "\n".join(lines))


def with_sizing(document: Path) -> str:
    """Return the document of operations with the tables of sizing."""
    performance, store = (
        json.loads((FOLDER / name).read_text(encoding="utf-8"))
        for name in ("performance.json", "store.json")
    )
    return _filled(document, SIZING_START, SIZING_END, sizing(performance, store))


def _filled(document: Path, start: str, end: str, text: str) -> str:
    before, _, rest = document.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def contract_schema() -> Schema:
    """Return the JSON Schema of a contract's record, as `contracts import` takes it."""
    schema = schemas_of([Contract, Market], _REFERENCE)["Contract"]
    properties = {
        name: {key: value for key, value in property_schema.items() if value is not None}
        for name, property_schema in schema["properties"].items()
    }
    properties["market"] |= {"anyOf": [{"enum": list(Market)}, {"type": "null"}]}
    properties["contractId"]["pattern"] = properties["contractName"]["pattern"] = r"\S"
    for name in ("ExpirationDate", "settlementDate"):
        properties[name] = {
            "type": ["string", "null"],
            "description": properties[name]["description"],
            "pattern": r"^\d{4}-\d{2}-\d{2}$",
        }
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
    """Return the JSON Schema of a message on a contract's channel."""
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
                    "Without it, each gateway uses the time at which the message arrives."
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
