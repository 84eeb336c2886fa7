"""Build the JSON bodies of the REST calls from stored bytes.

A section is copied as it is stored, without decoding it and encoding it again. No I/O, no HTTP.
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
    """The sections that can be requested live, as in the path of the call."""

    BEST_LIMIT = "best-limit"
    AGGREGATE = "aggregate"
    ALLOWED_PRICE_RANGE = "allowed-price-range"
    CONTRACT_INFO = "contract-info"
    OVERVIEW = "overview"


_encode = msgspec.json.Encoder().encode

KEYS: Final[Mapping[Section, str]] = MappingProxyType(
    dict(zip((s for s in Section if s is not Section.OVERVIEW), SECTIONS, strict=True))
)
"""Section → its key in a payload, for all but the overview."""


class Data(Struct, frozen=True):
    """The content of a response.

    Attributes:
        json: JSON of ``Data``.
        whole: whether nothing in it is null because a contract or its market data is missing.
        unreadable: names or ids, as requested, of contracts whose market data cannot be read;
            it is null.
        remark: further words on the outcome; None for none.
    """

    json: bytes
    whole: bool = True
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
        contracts: names or ids as requested, with their contracts; None for an unknown one.
        states: last states by id, of those contracts that have one; an error if unreadable.
        today: the date in Tehran.
        details: see `ime_live.gateway.rest.static_data.static_of`; for the overview.
    """
    pieces: list[bytes] = []
    whole = True
    unreadable = []
    for name, contract in contracts.items():
        state = states.get(contract.contract_id) if contract is not None else None
        if isinstance(state, PayloadError):
            unreadable.append(name)
            state = None
        whole &= state is not None
        pieces += b"," if pieces else b"{", _encode(name)
        if contract is None:
            pieces.append(b":null")
        elif section is Section.OVERVIEW:
            pieces += b":", overview(contract, state, today, details=details)
        else:
            pieces += b":", b"null" if state is None else state[KEYS[section]]
    pieces.append(b"}" if pieces else b"{}")
    return Data(b"".join(pieces), whole, tuple(unreadable))


def overview(
    contract: Contract, state: Sections | None, today: date, *, details: bool = False
) -> bytes:
    """Return the static fields and all sections of a contract in one flat object.

    Args:
        contract: its record.
        state: its last state; the sections are null without one.
        today: the date in Tehran.
        details: see `ime_live.gateway.rest.static_data.static_of`.
    """
    pieces = [static_json(contract, today, details=details)[:-1]]  # without its closing bracket
    for start, key in _SECTION_STARTS:
        pieces += start, b"null" if state is None else state[key]
    pieces.append(b"}")
    return b"".join(pieces)


_SECTION_STARTS: Final = tuple((b',"%b":' % key.encode(), key) for key in SECTIONS)


def static_data(
    contracts: Iterable[Contract | None], today: date, *, details: bool = False
) -> Data:
    """Return the static data of contracts, in order; null for None."""
    parts = [
        b"null" if each is None else static_json(each, today, details=details) for each in contracts
    ]
    return Data(b"[%b]" % b",".join(parts), b"null" not in parts)


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
    """Return the outcome if the market data of some contracts cannot be read."""
    listed = ", ".join(names)
    return Description(
        f"درخواست انجام شد؛ دادهٔ بازار {listed} خوانده نمی‌شود. هر چیز دیگری که null است وجود "
        "ندارد یا هنوز دادهٔ بازار ندارد.",
        f"The request was successful; the market data of {listed} cannot be read. What else is "
        "null does not exist or has no market data yet.",
    )


def _template(description: Description) -> bytes:
    # The place of the time is found by a number that does not occur before it.
    status = ResponseStatus(True, 0.125, VERSION, AUTHOR, description, 200)
    before, after = _encode(status).replace(b"%", b"%%").split(b"0.125", 1)
    return before + b"%.6f" + after


_DONE, _PARTLY = _template(DONE), _template(PARTLY)


def whole_body(data: Data, now: float) -> bytes:
    """Return the whole body of a response.

    Args:
        data: its content.
        now: Unix seconds.
    """
    if data.whole:
        template = _DONE
    elif not data.unreadable and data.remark is None:
        template = _PARTLY
    else:
        said = partly_unreadable(data.unreadable) if data.unreadable else PARTLY
        if data.remark is not None:
            said = Description(f"{said.fa} {data.remark.fa}", f"{said.en} {data.remark.en}")
        template = _template(said)
    status = template % now
    return b'{"Data":%b,"Status":%b}' % (data.json, status)


class Health(Struct, frozen=True):
    """The process runs and answers.

    Attributes:
        status: always ``ok``.
    """

    status: Literal["ok"]
