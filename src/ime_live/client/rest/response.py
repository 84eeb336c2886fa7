"""Responses of the REST calls, and what is decoded from them."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from ime_live.contracts import Contract
from ime_live.errors import ServiceError
from ime_live.market import Aggregate, AllowedPriceRange, BestLimit, ContractInfo, Payload

SectionT = TypeVar(
    "SectionT", bound=Payload | BestLimit | Aggregate | AllowedPriceRange | ContractInfo
)

SECTION_CALLS: Final[dict[type[Any], str]] = {
    Payload: "overview",
    BestLimit: "best-limit",
    Aggregate: "aggregate",
    AllowedPriceRange: "allowed-price-range",
    ContractInfo: "contract-info",
}
"""Name of the call that returns a section, in its path."""


class Response(Struct, frozen=True):
    """A response of the service, or of a proxy.

    Attributes:
        status: HTTP status.
        body: the whole body.
        location: target of a redirect; None if it is none.
        retry_after: the header ``Retry-After``; None without it.
    """

    status: int
    body: bytes
    location: str | None = None
    retry_after: str | None = None

    @property
    def wait(self) -> float:
        """Seconds that it asks to wait for; 0 if it does not. (The service sends no date here.)"""
        text = self.retry_after or ""
        return float(text) if text.isascii() and text.isdigit() else 0.0

    @property
    def detail(self) -> str:
        """The service's explanation of an error; else its status."""
        try:
            return _decode_refusal(self.body).detail
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return f"HTTP {self.status}"

    @property
    def data(self) -> Any:  # noqa: ANN401 - any JSON
        """The decoded ``Data`` of the body.

        Raises:
            ServiceError: the body cannot be read.
        """
        try:
            return _decode_body(self.body).data
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            text = f"the response cannot be read: {error}"
            raise ServiceError(text, status=self.status) from error


class Overview(Struct, frozen=True):
    """A contract with its present state.

    Attributes:
        contract: static fields of the contract; its ``market`` is None.
        data: present state; None if the contract has none yet.
    """

    contract: Contract
    data: Payload | None


class _Refusal(Struct):
    detail: str


class _Body(Struct):
    data: Any = msgspec.field(name="Data")


_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode_body = msgspec.json.Decoder(_Body).decode


def convert(raw: object, kind: Any) -> Any:  # noqa: ANN401 - a type and a value of it
    """Convert decoded JSON to a type.

    Raises:
        ServiceError: it does not have that type; the text names the place.
    """
    try:
        return msgspec.convert(raw, kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ServiceError(f"the response cannot be read: {error}") from error


def overview_of(raw: object) -> Overview | None:
    """Convert one contract of the call ``overview``; None stays None.

    Raises:
        ServiceError: a field is missing or has the wrong type.
    """
    if raw is None:
        return None
    contract = convert(raw, Contract)
    # Static fields and sections lie side by side; without a state the sections are null.
    has_state = isinstance(raw, dict) and raw.get("BestLimit") is not None
    return Overview(contract, convert(raw, Payload) if has_state else None)
