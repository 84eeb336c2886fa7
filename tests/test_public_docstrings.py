"""The docstrings of the public names: complete, with units, and in the form of the others."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import msgspec

import ime_live
from tests.client.test_error_texts import FOREIGN, made_errors
from tests.support.rows import each_row

PUBLIC = {name: getattr(ime_live, name) for name in ime_live.__all__ if name != "__version__"}
CLASSES = {name: found for name, found in PUBLIC.items() if inspect.isclass(found)}

# Methods that Python calls, whose meaning their protocol gives.
PROTOCOL = re.compile(r"__(?!init__|anext__|next__|getitem__)\w+__")

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):\n((?:    .*\n|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^    ([\w, ]+):((?:.*\n)(?:     .*\n)*)", re.MULTILINE)

UNIT = re.compile(r"rials|contracts|quantity|unit|number of|fraction|per cent|seconds|size")


def sections(text: str | None) -> dict[str, dict[str, str]]:
    """The sections of a docstring in Google's form: name of an entry → its text."""
    whole = inspect.cleandoc(text or "") + "\n"
    found: dict[str, dict[str, str]] = {}
    for section, body in SECTION.findall(whole):
        entries = [("", body)] if section == "Returns" else ENTRY.findall(body)
        found[section] = {
            name.strip(): " ".join(entry.split())
            for names, entry in entries
            for name in names.split(",")
        }
    return found


def functions() -> Iterator[tuple[str, Any]]:
    """Public functions, methods and properties, by their whole names."""
    for name, found in PUBLIC.items():
        if inspect.isfunction(found):
            yield name, found
        if not inspect.isclass(found):
            continue
        for attribute, each in inspect.getmembers(found):
            is_ours = getattr(inspect.unwrap(getattr(each, "fget", each)), "__module__", "") or ""
            if not is_ours.startswith("ime_live"):
                continue
            if attribute.startswith("_") and (
                PROTOCOL.fullmatch(attribute) or not attribute.startswith("__")
            ):
                continue
            if inspect.isfunction(each) or isinstance(each, property):
                yield f"{name}.{attribute}", each


FUNCTIONS = dict(functions())
# They are made by the library only; the attributes describe the contents of an error.
INNER = {f"{name}.__init__" for name, found in CLASSES.items() if issubclass(found, Exception)} | {
    "BlockingStream.__init__",
    "Connecting.__init__",
    "Message.__init__",
    "Stream.__init__",
}


def test_every_field_of_a_class_is_described() -> None:
    for name, found in CLASSES.items():
        assert inspect.getdoc(found), name
        described = sections(found.__doc__).get("Attributes", {})
        slots = (slot for slot in getattr(found, "__slots__", ()) if not slot.startswith("_"))
        fields = found.__struct_fields__ if issubclass(found, msgspec.Struct) else tuple(slots)
        if issubclass(found, Exception):
            init = getattr(found.__init__, "__code__", None)
            fields = tuple(
                init.co_varnames[2 : init.co_argcount + init.co_kwonlyargcount] if init else ()
            )
            described |= {
                field: text
                for base in found.__mro__
                for field, text in sections(base.__doc__).get("Attributes", {}).items()
            }
        assert [field for field in fields if not described.get(field)] == [], name
        numbers = [
            field
            for field in fields
            if str(getattr(found, "__annotations__", {}).get(field)).startswith(("Number", "float"))
        ]
        assert [field for field in numbers if not UNIT.search(described[field])] == [], name


def test_every_argument_of_a_function_is_described() -> None:
    for name in sorted(FUNCTIONS.keys() - INNER):
        function = FUNCTIONS[name]
        assert function.__doc__, name
        if isinstance(function, property):
            continue
        described = sections(function.__doc__)
        arguments = inspect.signature(function).parameters.keys() - {"self"}
        known = described.get("Args", {}).keys() | described.get("Attributes", {}).keys()
        assert arguments <= known, name
        returns = str(inspect.signature(function).return_annotation)
        if returns not in {"None", "Self"} and "__" not in name:
            assert described.get("Returns") or re.match(
                r"Return|Encode|Decode", function.__doc__
            ), name
        if (
            name.partition(".")[0] in {"connect", "AsyncClient", "Client", "Publisher"}
            and arguments
        ):
            assert described.get("Raises"), name


@each_row("name", ["connect", "AsyncClient.__init__", "Client.__init__"])
def test_option_describes_none_and_its_unit(name: str) -> None:
    described = sections(FUNCTIONS[name].__doc__)["Args"]
    for option, parameter in inspect.signature(FUNCTIONS[name]).parameters.items():
        if "None" in str(parameter.annotation) or parameter.annotation in {"Token", "Proxy"}:
            assert re.search(r"\bNone\b", described[option]), option
        if re.search(r"timeout|interval|delay|after", option):
            assert "seconds" in described[option], option


def test_connect_has_an_example_for_both_kinds_of_program() -> None:
    text = inspect.getdoc(ime_live.connect) or ""
    examples = [block for block in text.split("::\n") if block.startswith("\n    ")]
    assert {block.split()[0] for block in examples} == {"async", "with"}


def test_every_exception_of_the_client_is_documented() -> None:
    clients = (
        "connect",
        "Connecting",
        "Stream",
        "BlockingStream",
        "Message",
        "AsyncClient",
        "Client",
    )
    texts = [PUBLIC[name].__doc__ for name in clients]
    texts += [
        function.__doc__
        for name, function in FUNCTIONS.items()
        if name.partition(".")[0] in clients
    ]
    documented = {name for text in texts for name in sections(text).get("Raises", {})}
    made = {each.kind for each in made_errors() if not each.kind.startswith("CloseReason")}
    made |= {code.partition("(")[0] for _, code in FOREIGN}
    assert made - documented == set()
    # A reader of a stream learns of all of them where it begins.
    reading = sections(ime_live.connect.__doc__)["Raises"]
    assert made - {"ControlError"} <= reading.keys()
