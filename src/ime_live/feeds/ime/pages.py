"""Pages: describe an unexpected answer of a server in a few words.

It is often a web page of a firewall, a proxy or a maintenance notice in front of the SignalR hub.
"""

from __future__ import annotations

import html
import re
from typing import Final

_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_UNSEEN: Final = re.compile(
    r"<(script|style)\b.*?(</\1[^>]*>|$)|<!--.*?(-->|$)|<[^>]*(>|$)", re.IGNORECASE | re.DOTALL
)
_MAX_PAGE: Final = 8192  # bytes of a page in which its title is looked for
_MAX_WORDS: Final = 80  # characters of it in a description


def describe(answer: bytes, content_type: str, expected: str = "JSON") -> str:
    """Describe an unexpected body: its kind, and its title or first words."""
    page = answer[:_MAX_PAGE].decode("utf-8", "replace")
    kind = content_type.partition(";")[0].strip().lower()
    if "html" in kind or page.lstrip()[:1] == "<":
        kind = "HTML"
        title = _TITLE.search(page)
        page = html.unescape(title[1] if title else _UNSEEN.sub(" ", page))
    elif "json" in kind:
        page = ""  # it may hold a token
    words = printable(" ".join(page.split()))
    kind = printable(kind) or "something else"
    return f"{kind} instead of {expected}" + (f": “{words}”" if words else "")


def printable(text: str) -> str:
    """Shorten a foreign text for a log line, to printable characters only."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= _MAX_WORDS else text[: _MAX_WORDS - 1] + "…"
