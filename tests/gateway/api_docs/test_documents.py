"""The served API documents: the shipped files, fitted to the settings of a server."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

from docgen import api_documents
from docgen.api_documents import asyncapi as built_asyncapi
from docgen.api_documents import openapi as built_openapi
from ime_live.gateway.api_docs.documents import asyncapi, openapi
from ime_live.settings import AuthMode, GatewaySettings
from tests.support.described import follow, references

GUARDED = GatewaySettings(jwt_secret="x" * 32)
OPEN = GatewaySettings(
    auth=AuthMode.NONE, root_path="/p", max_contracts=7, max_client_message=99, client_rate=2.5
)


LOADED = """
import sys
import ime_live.gateway.app
print("\\n".join(sys.modules))
"""


def differences(built: Any, served: Any, path: str = "") -> set[str]:  # noqa: ANN401 - JSON
    """The paths of values that differ, with the names of array items left out."""
    if isinstance(built, dict) and isinstance(served, dict):
        return {
            found
            for key in built.keys() | served.keys()
            for found in differences(built.get(key), served.get(key), f"{path}/{key}")
        }
    if isinstance(built, list) and isinstance(served, list) and len(built) == len(served):
        return {
            found
            for one, other in zip(built, served, strict=True)
            for found in differences(one, other, path)
        }
    return set() if built == served else {path}


def ends(paths: set[str]) -> set[str]:
    return {path.rsplit("/", 1)[1] for path in paths}


@pytest.mark.parametrize("settings", [GUARDED, OPEN], ids=["jwt", "none"])
def test_documents_have_version_of_server_and_no_placeholder(settings: GatewaySettings) -> None:
    for made in (openapi(settings), asyncapi(settings)):
        assert made["info"]["version"] == version("ime-live")
        assert "{max_client_message}" not in json.dumps(made)
        for reference in references(made):
            if not reference.startswith("#/servers/"):
                assert follow(made, reference) is not None


@pytest.fixture(scope="module")
def built() -> tuple[Any, Any]:
    """Both documents as they are built, before a server's settings are put into them."""
    return tuple(
        json.loads(json.dumps(each.document())) for each in (built_openapi, built_asyncapi)
    )


def test_defaults_change_only_version_and_text_with_limits(built: tuple[Any, Any]) -> None:
    built_openapi, built_asyncapi = built
    assert differences(built_openapi, openapi(GUARDED)) == {"/info/version"}
    changed = differences(built_asyncapi, asyncapi(GUARDED))
    assert changed == {
        "/info/version",
        "/operations/receiveWebsocketByName/description",
        "/operations/receiveWebsocketById/description",
    }


def test_settings_change_only_the_texts_that_depend_on_them(built: tuple[Any, Any]) -> None:
    built_openapi, built_asyncapi = built
    changed = differences(built_openapi, openapi(OPEN))
    assert ends(changed) == {
        *("version", "url", "maxItems", "security", "securitySchemes", "401", "403"),
    }
    changed = differences(built_asyncapi, asyncapi(OPEN))
    assert ends(changed) == {
        *("version", "maxItems", "description", "securitySchemes", "properties"),
    }
    assert {path for path in changed if path.endswith("/properties")} == {
        f"/channels/websocketBy{by}/bindings/ws/headers/properties" for by in ("Name", "Id")
    }
    said = asyncapi(OPEN)["operations"]["receiveWebsocketById"]["description"]
    assert "99 bytes" in said
    assert "2.5 messages" in said


def test_limit_is_everywhere_that_of_the_settings() -> None:
    def limits(node: Any) -> list[int]:  # noqa: ANN401 - any part of a document
        if isinstance(node, list):
            return [found for each in node for found in limits(each)]
        if not isinstance(node, dict):
            return []
        own = [node["maxItems"]] if isinstance(node.get("maxItems"), int) else []
        return own + [found for each in node.values() for found in limits(each)]

    for made in (openapi(OPEN), asyncapi(OPEN)):
        assert set(limits(made)) == {7}


def test_gateway_does_not_import_the_document_builder() -> None:
    run = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    )
    loaded = set(run.stdout.split())
    assert "ime_live.gateway.api_docs.documents" in loaded
    assert not {name for name in loaded if name.startswith(api_documents.__name__)}
