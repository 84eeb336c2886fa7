"""Refusals: the ways in which a server, or what is before it, turns a request down."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from tests.support.signalr.wire import Exchange

HTML: Final = "<!DOCTYPE html><html><body>Please enable JavaScript</body></html>"


class Refusal(StrEnum):
    """How something is refused."""

    FORBIDDEN = "403"
    NOT_FOUND = "404"
    TOO_MANY = "429"
    BUSY = "503"
    HTML = "a page, with status 200"
    WRONG_TYPE = "plain text, with status 200"
    TRUNCATED = "half of a JSON object"
    HANG = "no answer at all"
    MUTE = "accepted, but never opened"
    DROP = "closed without an answer"


class Refusals:
    """The present refusals by name, and their answers."""

    def __init__(self) -> None:
        self.by: dict[str, Refusal] = {}
        self.retry_after = ""
        """What ``Retry-After`` says with a refusal that has a status of its own; empty for none."""

    async def refused(self, exchange: Exchange, *names: str) -> bool:
        """Refuse a request if one of its names is refused; the first that is counts.

        One that is to be mute is not refused here: its channel is silent then.
        """
        how = next((self.by[each] for each in names if each in self.by), None)
        if how is None or how is Refusal.MUTE:
            return False
        if how is Refusal.HANG:
            await exchange.gone()
            exchange.keep = False
        elif how is Refusal.DROP:
            exchange.cut()
        elif how is Refusal.HTML:
            exchange.answer(200, HTML, "text/html; charset=utf-8")
        elif how is Refusal.WRONG_TYPE:
            exchange.answer(200, "Service Unavailable", "text/plain")
        elif how is Refusal.TRUNCATED:
            exchange.answer(200, '{"Url":"/realTimeServer","ConnectionTok')
        else:
            if self.retry_after:
                exchange.headers.append(("Retry-After", self.retry_after))
            exchange.answer(int(how), HTML, "text/html; charset=utf-8")
        return True
