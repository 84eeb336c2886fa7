"""Build the JSON bodies of the REST calls from stored bytes.

Sections are copied as they are stored, without decoding and encoding. No I/O, no HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from enum import StrEnum
from importlib.metadata import version
from types import MappingProxyType
from typing import Final, Literal

import msgspec
from msgspec import Struct, field

from ime_live.contracts import Contract
from ime_live.errors import PayloadError
from ime_live.gateway.rest.static_data import static_json
from ime_live.gateway.upstream.sections import Sections
from ime_live.market import SECTIONS


class Section(StrEnum):
    """The sections of live data; the value is the part of the call's path."""

    BEST_LIMIT = "best-limit"
    AGGREGATE = "aggregate"
    ALLOWED_PRICE_RANGE = "allowed-price-range"
    CONTRACT_INFO = "contract-info"
    OVERVIEW = "overview"


_encode = msgspec.json.Encoder().encode

KEYS: Final[Mapping[Section, str]] = MappingProxyType(
    dict(zip((s for s in Section if s is not Section.OVERVIEW), SECTIONS, strict=True))
)
"""Section → key in a payload, for all but the overview."""


class Data(Struct, frozen=True):
    """The content of a response.

    Attributes:
        json: JSON of ``Data``.
        is_complete: whether nothing is null because a contract or its market data is missing.
        unreadable: names or ids, as requested, of contracts whose market data is null because it
            cannot be read.
        remark: an additional sentence for the description; None without one.
    """

    json: bytes
    is_complete: bool = True
    unreadable: tuple[str, ...] = ()
    remark: Description | None = None


def live_data(
    section: Section,
    contracts: Mapping[str, Contract | None],
    states: Mapping[str, Sections | PayloadError],
    today: date,
    *,
    details: bool = False,
) -> Data:
    """Return live data of contracts.

    Args:
        section: the requested section.
        contracts: names or ids as requested, with their contracts; None for an unknown contract.
        states: last states by contract id; an error for a state that cannot be read.
        today: the date in Tehran.
        details: see `ime_live.gateway.rest.static_data.static_of`; for the overview only.
    """
    pieces: list[bytes] = []
    is_complete = True
    unreadable = []
    for name, contract in contracts.items():
        state = states.get(contract.contract_id) if contract is not None else None
        if isinstance(state, PayloadError):
            unreadable.append(name)
            state = None
        is_complete &= state is not None
        pieces += b"," if pieces else b"{", _encode(name)
        if contract is None:
            pieces.append(b":null")
        elif section is Section.OVERVIEW:
            pieces += b":", overview(contract, state, today, details=details)
        else:
            pieces += b":", b"null" if state is None else state[KEYS[section]]
    pieces.append(b"}" if pieces else b"{}")
    return Data(b"".join(pieces), is_complete, tuple(unreadable))


def overview(
    contract: Contract, state: Sections | None, today: date, *, details: bool = False
) -> bytes:
    """Return the static fields and all sections of a contract in one flat object.

    Args:
        contract: the contract.
        state: the last state; without one, the sections are null.
        today: the date in Tehran.
        details: see `ime_live.gateway.rest.static_data.static_of`.
    """
    pieces = [static_json(contract, today, details=details)[:-1]]  # without the closing brace
    for start, key in _SECTION_STARTS:
        pieces += start, b"null" if state is None else state[key]
    pieces.append(b"}")
    return b"".join(pieces)


_SECTION_STARTS: Final = tuple((b',"%b":' % key.encode(), key) for key in SECTIONS)


def static_data(
    contracts: Iterable[Contract | None], today: date, *, details: bool = False
) -> Data:
    """Return the static data of contracts.

    Args:
        contracts: the contracts in order; None for an unknown contract, which becomes null.
        today: the date in Tehran.
        details: see `ime_live.gateway.rest.static_data.static_of`.
    """
    pieces = [
        b"null" if contract is None else static_json(contract, today, details=details)
        for contract in contracts
    ]
    return Data(b"[%b]" % b",".join(pieces), b"null" not in pieces)


# -- Status ----------------------------------------------------------------------------------


class Description(Struct, frozen=True):
    """The outcome in words.

    Attributes:
        fa: in Persian.
        en: in English.
    """

    fa: str
    en: str


class ResponseStatus(Struct, frozen=True):
    """The outcome of a request.

    Attributes:
        state: whether it was successful; false never comes with a 200.
        time: time of the response, Unix seconds.
        version: version of the service.
        author: author of the service.
        description: the outcome in words.
        code: the HTTP status.
    """

    state: bool = field(name="State")
    time: float = field(name="ServerTimeStamp")
    version: str = field(name="Version")
    author: str = field(name="Author")
    description: Description = field(name="Description")
    code: int = field(name="StatusCode")


VERSION: Final = version("ime-live")
AUTHOR: Final = "The ime-live developers"

DONE: Final = Description("درخواست با موفقیت انجام شد.", "The request was successful.")
PARTLY: Final = Description(
    "درخواست انجام شد؛ هر چه null است وجود ندارد یا هنوز دادهٔ بازار ندارد.",
    "The request was successful; what is null does not exist or has no market data yet.",
)


def partly_unreadable(names: Iterable[str]) -> Description:
    """Return the description of a response in which some market data cannot be read."""
    joined = ", ".join(names)
    return Description(
        f"درخواست انجام شد؛ دادهٔ بازار {joined} خوانده نمی‌شود. هر چیز دیگری که null است وجود "
        "ندارد یا هنوز دادهٔ بازار ندارد.",
        f"The request was successful; the market data of {joined} cannot be read. What else is "
        "null does not exist or has no market data yet.",
    )


def _template(description: Description) -> bytes:
    # The time is a number that does not occur before its place, so that it can be replaced.
    status = ResponseStatus(True, 0.125, VERSION, AUTHOR, description, 200)
    before, after = _encode(status).replace(b"%", b"%%").split(b"0.125", 1)
    return before + b"%.6f" + after


_DONE, _PARTLY = _template(DONE), _template(PARTLY)


def response_body(data: Data, now: float) -> bytes:
    """Return the body of a response: the content and the status.

    Args:
        data: the content.
        now: the present time [Unix seconds].
    """
    if data.is_complete:
        template = _DONE
    elif not data.unreadable and data.remark is None:
        template = _PARTLY
    else:
        description = partly_unreadable(data.unreadable) if data.unreadable else PARTLY
        if (remark := data.remark) is not None:
            description = Description(
                f"{description.fa} {remark.fa}", f"{description.en} {remark.en}"
            )
        template = _template(description)
    status = template % now
    return b'{"Data":%b,"Status":%b}' % (data.json, status)


class Health(Struct, frozen=True):
    """The process runs and answers.

    Attributes:
        status: always ``ok``.
    """

    status: Literal["ok"]
