"""Invocations: decode a frame of the SignalR hub to the calls in it.

Classic SignalR: a frame has invocations; each names a SignalR hub and a method and has arguments. A
call that cannot be read affects only itself. Rows of boards stay encoded, so that known rows
need not be decoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct, field

from ime_live.errors import FeedError
from ime_live.feeds.boards.wrapping import got, unwrap

HUB: Final = "marketshub"

_MAX_NAME: Final = 100  # characters of a name that are looked at


class Invocation(Struct, frozen=True):
    """A call of a client's method by the exchange's SignalR hub.

    Attributes:
        method: method as the message spells it. SignalR compares names without regard to case.
        arguments: arguments without nulls: decoded, or as `msgspec.Raw` if they are rows of a
            board.
        problem: why the message cannot be read; None if it can.
    """

    method: str
    arguments: tuple[object, ...] = ()
    problem: str | None = None


class ForeignInvocation(Struct, frozen=True):
    """A call by another hub."""

    hub: str
    method: str


class _RawInvocation(Struct):
    hub: Any = field(name="H", default=None)
    method: Any = field(name="M", default=None)
    arguments: Raw = field(name="A", default=Raw())


class _InvocationFrame(Struct):
    messages: list[_RawInvocation] | None = field(name="M", default=None)


_decode_frame = msgspec.json.Decoder(_InvocationFrame).decode
_decode_boards = msgspec.json.Decoder(list[list[Raw] | None]).decode


def read_invocations(
    frame: bytes | str | Mapping[str, Any],
) -> Iterator[Invocation | ForeignInvocation]:
    """Read a frame's messages, in its order. A keep-alive (``{}``) has none.

    Args:
        frame: JSON, or the decoded object.

    Raises:
        FeedError: it is not JSON, or not a frame.
    """
    if isinstance(frame, bytes | str):
        try:
            messages = _decode_frame(frame).messages
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # An unusual form, which the slower and more tolerant reader may understand.
            frame = read_json(frame)
        else:
            for message in messages or ():
                yield _message(message.hub, message.method, message.arguments)
            return
    if not isinstance(frame, Mapping):
        raise FeedError(f"a frame must be a JSON object, {got(frame)}")
    yield from _messages(frame)


def read_json(text: bytes | str, what: str = "a frame") -> Any:  # noqa: ANN401 - any JSON
    """Decode JSON that may contain NaN or too large numbers, so that only their row is lost.

    Args:
        text: the JSON.
        what: name of the text, for the error.

    Raises:
        FeedError: it is not JSON.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FeedError(f"{what} is not JSON: {error}") from None


def _messages(frame: Mapping[str, Any]) -> Iterator[Invocation | ForeignInvocation]:
    messages = frame.get("M")
    if isinstance(messages, str):
        messages = unwrap(messages)
    if isinstance(messages, Mapping) and "M" in messages:
        messages = [messages]
    if messages is None:
        return
    if not isinstance(messages, list):
        raise FeedError(f"M of a frame must be a list of messages, {got(messages)}")
    for item in messages:
        message = item if isinstance(item, Mapping) else unwrap(item)
        if not isinstance(message, Mapping):
            yield Invocation("", problem=f"the message must be an object, {got(item)}")
        elif "A" in message:
            yield _message(message.get("H"), message.get("M"), message["A"])
        else:
            yield _message(message.get("H"), message.get("M"), Raw())


def _message(hub: object, method: object, arguments: object) -> Invocation | ForeignInvocation:
    hub, method = unwrap(hub), unwrap(method)
    if not isinstance(method, str):
        return Invocation("", problem=f"M: must be the name of a method, {got(method)}")
    # A recording by hand may leave the SignalR hub out.
    if hub is not None and str(hub)[:_MAX_NAME].lower() != HUB:
        return ForeignInvocation(str(hub)[:_MAX_NAME], method[:_MAX_NAME])
    if isinstance(arguments, Raw):
        raw = bytes(arguments)
        if not raw:
            return Invocation(method, problem="A: must be a list of arguments, and is missing")
        try:
            boards = _decode_boards(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            try:
                arguments = read_json(raw, "A")
            except FeedError as error:
                return Invocation(method, problem=f"A: {error}")
        else:
            return Invocation(method, tuple(row for board in boards for row in board or ()))
    if not isinstance(arguments, list):
        return Invocation(method, problem=f"A: must be a list of arguments, {got(arguments)}")
    # The SignalR hub sometimes sends null in place of a row.
    return Invocation(method, tuple(argument for argument in arguments if argument is not None))
