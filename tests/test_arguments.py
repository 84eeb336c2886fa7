"""Arguments of public functions: every one is checked, and the error says the rule and the value.

The functions and their arguments are found by the signatures, so a new argument is tested, too.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import ime_live
from ime_live.errors import PayloadError, SettingsError
from ime_live.local.embedded import EmbeddedValkey
from tests.support.stream_messages import DATA

URL = "ws://127.0.0.1:1"


class Odd:
    """A value of no type that any argument has."""

    def __repr__(self) -> str:
        return "<an odd value>"


VALID: dict[str, dict[str, Any]] = {
    "connect": {"url": URL, "contract_names": ["A"]},
    "read_payload": {},
    "AsyncClient": {"url": URL},
    "AsyncClient.snapshot": {"contract_names": ["A"]},
    "AsyncClient.overview": {"contract_names": ["A"]},
    "AsyncClient.contracts": {"contract_names": ["A"]},
    "AsyncClient.candles": {"contract_names": ["A"]},
    "AsyncClient.search": {"market": "IMEFutures", "text": "x"},
    "AsyncClient.option_chain": {"underlying": "GC"},
    "Client": {"url": URL},
    "Client.snapshot": {"contract_names": ["A"]},
    "Client.overview": {"contract_names": ["A"]},
    "Client.contracts": {"contract_names": ["A"]},
    "Client.candles": {"contract_names": ["A"]},
    "Client.search": {"market": "IMEFutures", "text": "x"},
    "Client.option_chain": {"underlying": "GC"},
    "Publisher": {},
    "Publisher.publish": {"contract_id": "1", "payload": DATA},
    "Publisher.publish_many": {"payloads": [("1", DATA)]},
    "Publisher.patch": {"contract_id": "1", "Aggregate": {}},
    "Stream.add": {"contract_names": ["A"]},
    "Stream.remove": {"contract_names": ["A"]},
    "BlockingStream.add": {"contract_names": ["A"]},
    "BlockingStream.remove": {"contract_names": ["A"]},
    "BlockingStream.receive": {},
}
"""Function → arguments that it accepts, beside the one that is tested."""

WRONG: dict[str, list[Any]] = {
    "float": ["fast", "5", True, [], b"1", float("nan"), float("inf"), 1j],
    "int": ["1", True, 1.5, [], b"1"],
    "bool": ["no", "true", 0, 1, []],
    "str": [5, True, [], b"text", {}],
    "Iterable": [5, True, b"12", "A"],
    "Mapping": [5, "A", []],
    "Ids": [5, True, b"12", "1"],
    "Markets": [5, True, b"12", "IMEOption", ["option"]],
    "Underlying": [5, True, b"12", ["KA", 5], " "],
}
"""Type in an annotation → values that are not of this type."""

WORDS = {
    "url": "the service's address",
    "contract_names": "contract",
    "contract_ids": "contract",
    "contract_id": "contract id",
    "sections": "section",
    "payload": "",  # the decoder's text names the field
    "data": "",
    "proxy": "proxy",
}
"""Argument → how its errors name it, if not by its own name."""


def functions() -> Iterator[tuple[str, Any]]:
    """Public functions and methods with arguments, by name; a class stands for its constructor."""
    for name in ("connect", "read_payload"):
        yield name, getattr(ime_live, name)
    for name in ("AsyncClient", "Client", "Publisher", "Stream", "BlockingStream"):
        found = getattr(ime_live, name)
        if name not in {"Stream", "BlockingStream"}:  # `connect` makes them
            yield name, found
        for method, each in inspect.getmembers(found, inspect.isfunction):
            if not method.startswith("_") and len(inspect.signature(each).parameters) > 1:
                yield f"{name}.{method}", each


FUNCTIONS = dict(functions())


def arguments() -> Iterator[tuple[str, str, list[Any]]]:
    """Function, argument, and values that are not of its type."""
    for name, function in FUNCTIONS.items():
        for argument, parameter in inspect.signature(function).parameters.items():
            if argument == "self":
                continue
            kinds = set(str(parameter.annotation).split(" | ")) - {"None"}
            first = {kind.partition("[")[0] for kind in kinds}
            values: list[Any] = [Odd(), [Odd()]]
            if len(first) == 1:  # a value that one type refuses may be right for the other
                values += WRONG.get(first.pop(), [])
            yield (
                name,
                "Aggregate" if argument == "sections" and "patch" in name else argument,
                values,
            )


def test_functions_and_their_arguments_are_found() -> None:
    assert FUNCTIONS.keys() == VALID.keys()
    assert sum(1 for _ in arguments()) > 60
    assert sum(len(values) for _, _, values in arguments()) > 250


@asynccontextmanager
async def owner(name: str, redis_url: str) -> AsyncIterator[Any]:
    """The object whose method is called."""
    connecting = ime_live.connect(URL, ["A"], proxy=None)
    match name:
        case "AsyncClient":
            async with ime_live.AsyncClient(URL) as client:
                yield client
        case "Client":
            with ime_live.Client(URL) as blocking:
                yield blocking
        case "Publisher":
            async with ime_live.Publisher(redis_url, key_prefix="arguments:") as publisher:
                yield publisher
        case "Stream":
            async with connecting as stream:
                yield stream
        case "BlockingStream":
            with connecting as messages:
                yield messages
        case _:
            yield ime_live


async def call(function: Any, given: dict[str, Any]) -> None:  # noqa: ANN401 - any function
    """Call a function, and wait for its result if it is async."""
    done = function(**given)
    if inspect.isawaitable(done):
        await done


@pytest.mark.parametrize("name", FUNCTIONS)
async def test_value_of_another_type_is_refused_by_name(name: str, valkey: EmbeddedValkey) -> None:
    kind, _, method = name.rpartition(".")
    wrong = [
        (argument, value)
        for each, argument, values in arguments()
        if each == name
        for value in values
    ]
    async with owner(kind, valkey.url) as whose:
        function = getattr(whose, method)
        for argument, value in wrong:
            try:
                await call(function, VALID[name] | {argument: value})
            except (SettingsError, PayloadError) as error:
                text = str(error)
            else:
                text = "no error"
            assert text != "no error", (argument, value)
            assert WORDS.get(argument, argument) in text, (argument, value)
            if argument not in {"payload", "data", "Aggregate"}:
                assert " must " in text, (argument, value)
                assert ", got " in text, (argument, value)
