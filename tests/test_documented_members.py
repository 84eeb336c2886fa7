"""The documents name only attributes, methods and arguments that the public classes have.

Expressions such as ``message.data.best_limit["1"].buy_price`` are followed through the annotations
of the real classes, in examples and in sentences; other identifiers must be a member, an argument,
a setting or a name on the wire.
"""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

import ime_live
from ime_live.settings import DemoSettings, UpSettings, options
from tests.support.paths import ROOT
from tests.support.rows import each_row
from tests.test_documents import ALL, blocks_of

ROOTS: Final[dict[str, Any]] = {
    "ime_live": ime_live,
    "message": ime_live.Message,
    "stream": ime_live.Stream,
    "event": ime_live.ConnectionEvent,
    "data": ime_live.Payload,
    "client": ime_live.AsyncClient,
    "publisher": ime_live.Publisher,
    "overview": ime_live.Overview,
}
"""Name of a variable in the documents → its type."""

BLOCKING: Final = {ime_live.Stream: ime_live.BlockingStream, ime_live.AsyncClient: ime_live.Client}

# Submodules and their names, which an example or a sentence about logs may have.
MODULES: Final = {"client", "errors", "market", "contracts", "store"}

# The changelog has the names of former versions; members of the browser module are JavaScript.
DOCUMENTS: Final = [path for path in ALL if path.name not in {"CHANGELOG.md", "browser.md"}]

PUBLIC: Final = {name: getattr(ime_live, name) for name in ime_live.__all__}
CLASSES: Final = [found for found in PUBLIC.values() if inspect.isclass(found)]


def plain(annotation: Any) -> Any:  # noqa: ANN401 - an annotation
    """The type that an annotation has beside None and UNSET; Any if there are several."""
    if isinstance(annotation, typing.TypeVar):
        return ime_live.Payload
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        left = {
            each
            for each in typing.get_args(annotation)
            if each not in {type(None), msgspec.UnsetType}
        }
        return plain(left.pop()) if len(left) == 1 else Any
    return annotation


def member(kind: Any, name: str) -> Any:  # noqa: ANN401 - a type
    """The type of a member.

    Raises:
        AttributeError: there is no such member.
    """
    if kind is Any:
        return Any
    if inspect.ismodule(kind):
        return Any if name in MODULES else getattr(kind, name)
    kind = typing.get_origin(kind) or kind
    try:
        found = inspect.getattr_static(kind, name)
    except AttributeError:
        found = inspect.getattr_static(BLOCKING[kind], name) if kind in BLOCKING else None
        if found is None:
            raise
    if isinstance(found, property):
        return plain(typing.get_type_hints(found.fget)["return"])
    if inspect.isfunction(found):
        return found
    if issubclass(kind, msgspec.Struct):
        return plain(typing.get_type_hints(kind)[name])
    return Any


def type_of(node: ast.expr) -> Any:  # noqa: ANN401 - a type
    """The type of an expression; Any where it is not known.

    Raises:
        AttributeError: it has a member that does not exist.
    """
    match node:
        case ast.Name(id=name):
            return ROOTS.get(name, Any)
        case ast.Attribute(value=value, attr=name):
            return member(type_of(value), name)
        case ast.Subscript(value=value):
            kind = type_of(value)
            return ime_live.Level if kind is ime_live.BestLimit else Any
        case ast.Await(value=value):
            return type_of(value)
    return Any


def faults(code: str) -> Iterator[str]:
    """Members in some code that do not exist."""
    try:
        tree = ast.parse(code, feature_version=(3, 11))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            try:
                type_of(node)
            except AttributeError:
                yield ast.unparse(node)


def spans(path: Path) -> Iterator[str]:
    """Return the texts that a document has between single backticks in its sentences."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def codes(path: Path) -> Iterator[str]:
    """All Python code of a document."""
    yield from (block.text for said, block in blocks_of(path) if said in {"python", "py"})
    yield from spans(path)


def test_members_that_a_document_names_exist() -> None:
    for path in DOCUMENTS:
        assert [fault for code in codes(path) for fault in faults(code)] == [], path.name


def test_members_that_a_docstring_names_exist() -> None:
    for name, found in PUBLIC.items():
        texts = [inspect.getdoc(found) or ""]
        texts += [inspect.getdoc(each) or "" for _, each in inspect.getmembers(found, callable)]
        named = [code for text in texts for code in re.findall(r"``([^`]+)``", text)]
        assert [fault for code in named for fault in faults(code)] == [], name


def test_members_of_messages_are_found_in_documents() -> None:
    found = {
        ast.unparse(node)
        for path in DOCUMENTS
        for code in codes(path)
        if "message." in code
        for node in _attributes(code)
    }
    assert {"message.timestamp", "message.data.aggregate.last_price"} <= found


def _attributes(code: str) -> list[ast.Attribute]:
    try:
        return [each for each in ast.walk(ast.parse(code)) if isinstance(each, ast.Attribute)]
    except SyntaxError:
        return []


@each_row(
    ("code", "fault"),
    [
        ("message.stamp", "message.stamp"),
        ("print(message.data.aggregate.price)", "message.data.aggregate.price"),
        ('message.data.best_limit["1"].bid', "message.data.best_limit['1'].bid"),
        ("await stream.subscribe(['A'])", "stream.subscribe"),
        ("ime_live.Streams", "ime_live.Streams"),
        ("event.why", "event.why"),
        ("stream.status.feeds", "stream.status.feeds"),
    ],
)
def test_member_that_does_not_exist_is_found(code: str, fault: str) -> None:
    assert list(faults(code)) == [fault]


# -- identifiers alone ----------------------------------------------------------------------------


def known() -> set[str]:
    """Names that a sentence about the library or the calls may have."""
    names = set(PUBLIC) | {each.name for each in options(UpSettings)}
    names |= {each.name for each in options(DemoSettings)}
    for found in PUBLIC.values():
        functions = [found] if inspect.isfunction(found) else []
        if inspect.isclass(found):
            names |= {name for name in dir(found) if not name.startswith("_")}
            functions += [each for _, each in inspect.getmembers(found, inspect.isfunction)]
        for function in functions:
            names |= set(inspect.signature(function).parameters)
    for kind in CLASSES:
        if issubclass(kind, msgspec.Struct):
            names |= {each.encode_name for each in msgspec.structs.fields(kind)}
    return names | wire_names()


def wire_names() -> set[str]:
    """Names of query parameters and of fields in the API documents."""
    found: set[str] = set()

    def collect(node: Any) -> None:  # noqa: ANN401 - JSON
        if isinstance(node, Mapping):
            found.update(node.get("properties") or {})
            if isinstance(name := node.get("name"), str):
                found.add(name)
            for each in node.values():
                collect(each)
        elif isinstance(node, list):
            for each in node:
                collect(each)

    folder = ROOT / "src" / "ime_live" / "gateway" / "api_docs"
    for path in folder.glob("*.json"):
        collect(msgspec.json.decode(path.read_bytes()))
    return found


IDENTIFIER = re.compile(r"([a-z]+(?:_[a-z]+)+)(?:\(.*\)|=.*)?")


@each_row("name", ["README.md", "docs/client.md", "docs/http.md"])
def test_identifiers_that_a_document_names_exist(name: str) -> None:
    named = {found[1] for span in spans(ROOT / name) if (found := IDENTIFIER.fullmatch(span))}
    assert named - known() == set()


def test_identifiers_are_found() -> None:
    named = {
        found[1]
        for span in spans(ROOT / "docs" / "client.md")
        if (found := IDENTIFIER.fullmatch(span))
    }
    assert {"timestamp_text", "to_dict", "max_reconnect_delay", "open_timeout"} <= named
    assert "timestamp_txt" not in known()
