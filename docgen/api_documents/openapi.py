"""Generate the OpenAPI document, which describes the REST calls. No I/O.

Its schemas come from the types of the responses, its paths and parameters from the names by which
requests are read. A framework's generator supports neither calls that return ready bytes nor two
spellings of one parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from docgen.api_documents.operations import TAGS, TOKEN, operations
from docgen.api_documents.rest_examples import NAMES, WHOLE_EXAMPLES, example_of
from docgen.api_documents.rest_schemas import Part, rest_schemas
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.rest.paths import SEARCH_PATH

_ABOUT: Final = """\
Market data of the Iran Mercantile Exchange over plain HTTP. `/asyncapi.json` describes the streams.

A successful response has `Data` and `Status`. An error, with a status of 400 or more, has `detail`,
which says what is wrong. HEAD is accepted for every path except `/metrics`. Names and ids are found
in any spelling: with Persian or Arabic letters and digits, with or without joiners."""


def document() -> Part:
    """Return the document, as for a server with tokens.

    `ime_live.gateway.api_docs.documents` fits it to a server: its version is 0, and the limits are
    the defaults.
    """
    paths = operations()
    schemas = rest_schemas()
    for path, item in paths.items():
        _complete(path, item["get"], schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ime-live",
            "version": "0",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def _complete(path: str, operation: Part, schemas: Mapping[str, Part]) -> None:
    """Give a call its name for generated clients, and an example of its response."""
    operation["operationId"] = operation_id(path)
    key = NAMES[By.ID if path.endswith(f"/{By.ID}") else By.NAME]
    (content,) = operation["responses"]["200"]["content"].values()
    if path in WHOLE_EXAMPLES:
        content["example"] = WHOLE_EXAMPLES[path]
    else:
        content["example"] = example_of(content["schema"], schemas, key)


def operation_id(path: str) -> str:
    """Return the name of a call, from which generated clients derive the name of a method.

    >>> operation_id("/live/data/best-limit/contract/name")
    'getBestLimitByName'
    """
    if path in _OPERATION_IDS:
        return _OPERATION_IDS[path]
    *words, last = path.removeprefix("/live").removeprefix("/data").strip("/").split("/")
    by = f"By{last.capitalize()}" if last in set(By) else ""
    words = [word for word in words if word != "contract"] + ([] if by else [last])
    return "get" + "".join(word.title().replace("-", "") for word in words) + by


_OPERATION_IDS: Final = {
    SEARCH_PATH: "searchContracts",
    "/ready": "getReadiness",
    "/openapi.json": "getOpenApi",
}

_SECURITY: Final[Part] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "`Authorization: Bearer <token>`; the word `Bearer` may be left out.",
    },
    "query": {
        "type": "apiKey",
        "in": "query",
        "name": TOKEN,
        "description": (
            "For clients that cannot set a header. Proxies log query strings, so prefer the header."
        ),
    },
}
