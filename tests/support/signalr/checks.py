"""Checks of a client's requests to the test hub.

Each check returns the violations of a request as sentences. The rules are those of
`shared/spec/ime-hub.md`; where that is silent, those of SignalR 2.4's own server.
"""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote

from msgspec import Struct, field

from tests.support.signalr.wire import Request

TRANSPORTS: Final = ("webSockets", "serverSentEvents", "longPolling")
_METHODS: Final = {
    "negotiate": ("GET",),
    "start": ("GET",),
    "poll": ("POST",),
    "abort": ("GET", "POST"),  # the spec does not say; SignalR's own clients POST
}
RECEIVING: Final = ("connect", "reconnect", "poll")
"""What frames come by."""
_HIGHEST_TID: Final = 10
_UNSAFE: Final = set('[]{}":|+ ,')
"""What has to be encoded in a query."""


class Session(Struct, eq=False):
    """The SignalR hub's record of one connection token."""

    token: str
    id: str
    transport: str = ""
    opened: bool = False
    """Whether it was sent the message that opens a connection."""
    started: bool = False
    aborted: bool = False
    ended: bool = False
    """Whether the server has aborted it: a reconnect is taken then, and closed at once."""
    revived: bool = False
    """Whether it is from before the server was started again."""
    groups: str = ""
    """What was sent as `G`, which is sent back from then on."""
    given: list[str] = field(default_factory=list)
    """The cursors it was given, in order; of a frame that was cut it was given none."""


def of_headers(request: Request, agent: str, cookies: dict[str, str]) -> list[str]:
    """Return the violations in a request's headers.

    Args:
        request: any to the hub.
        agent: what the User-Agent must begin with.
        cookies: those that the client was given.
    """
    wrong = []
    if not request.header("user-agent").startswith(agent):
        wrong.append(f"User-Agent {request.header('user-agent')!r}, not {agent}")
    if not request.header("host"):
        wrong.append("no Host")
    carried = request.cookies
    wrong += [
        f"cookie {name} is {carried.get(name)!r}, not {value!r}"
        for name, value in cookies.items()
        if carried.get(name) != value
    ]
    return wrong


def of_query(verb: str, request: Request) -> list[str]:
    """Return the violations in the parameters that every call, or every call of a kind, has."""
    query = request.query
    wrong = []
    if _UNSAFE & set(request.raw_query):
        wrong.append(f"characters that are not encoded in {request.raw_query!r}")
    if query.get("clientProtocol") != "2.1":
        wrong.append(f"clientProtocol {query.get('clientProtocol')!r}")
    if not _is_our_hub(query.get("connectionData", "")):
        wrong.append(f"connectionData {query.get('connectionData')!r}")
    if verb == "negotiate":
        if not (query.get("_", "").isdigit() and len(query["_"]) == len("1700000000000")):
            wrong.append(f"_ is {query.get('_')!r}, not milliseconds")
        wrong += [f"{name} before there is any" for name in ("connectionToken",) if name in query]
    elif query.get("transport") not in TRANSPORTS:
        wrong.append(f"transport {query.get('transport')!r}")
    tid = query.get("tid")
    if tid is None and verb == "connect" and query.get("transport") == "webSockets":
        wrong.append("no tid")
    if tid is not None and not (tid.isdigit() and int(tid) <= _HIGHEST_TID):
        wrong.append(f"tid {tid!r}")
    methods = _METHODS.get(verb) or (
        ("POST",) if query.get("transport") == "longPolling" else ("GET",)
    )
    if verb == "reconnect" and query.get("transport") == "longPolling":
        methods = ("GET", "POST")  # the spec does not say
    if request.method not in methods:
        wrong.append(f"method {request.method}")
    return wrong


def _is_our_hub(data: str) -> bool:
    try:
        return bool(json.loads(data) == [{"name": "marketshub"}])
    except ValueError:
        return False


def of_session(verb: str, request: Request, session: Session) -> list[str]:
    """Return the violations of a request at this point of its connection's life."""
    transport = request.query.get("transport", "")
    wrong = []
    if f"connectionToken={quote(session.token, safe='')}" not in request.raw_query:
        wrong.append("connectionToken is not encoded")
    if session.aborted:
        wrong.append("after abort")
    if verb == "connect" and session.started:
        wrong.append("connect with a token that was started")
    if verb != "connect" and transport != session.transport:
        wrong.append(f"transport {transport!r}, connected by {session.transport!r}")
    if verb == "start" and not session.opened:
        wrong.append("start before the message that opens the connection")
    if verb == "start" and session.started:
        wrong.append("started twice")
    if verb == "reconnect" and not session.started:
        wrong.append("reconnect before start")
    if verb in ("reconnect", "poll"):
        wrong += _of_cursor(verb, request, session)
    return wrong


def _of_cursor(verb: str, request: Request, session: Session) -> list[str]:
    cursor = request.form.get("messageId") if request.body else request.query.get("messageId")
    wrong = []
    if verb == "poll" and "messageId" not in request.form:
        wrong.append("messageId is not in the body")
    if verb == "poll" or request.body:
        kind = request.header("content-type")
        if not kind.startswith("application/x-www-form-urlencoded"):
            wrong.append(f"a form sent as {kind!r}")
        if _UNSAFE & set(request.body.decode("latin-1")):
            wrong.append(f"characters that are not encoded in {request.body!r}")
    if cursor is None:
        wrong.append("no messageId")
    # A client may close the connection and reconnect before it has read everything.
    elif session.revived and verb == "reconnect":
        pass
    elif cursor not in (session.given[-1:] if verb == "poll" else session.given):
        wrong.append(f"messageId {cursor!r}, given last {session.given[-1:]}")
    groups = (request.form | request.query).get("groupsToken", "")
    if groups != session.groups:
        wrong.append(f"groupsToken {groups!r}, given {session.groups!r}")
    return wrong


def of_token(request: Request, token: str) -> list[str]:
    """Return the violations of a request's bearer token, if it must have one."""
    said = request.header("authorization")
    return [] if said == (f"Bearer {token}" if token else "") else [f"Authorization {said!r}"]
