"""All targets, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fuzz import (
    client_messages,
    files,
    http_requests,
    hub_messages,
    queries,
    store_messages,
    tokens,
    websockets,
)
from fuzz.target import Target

TARGETS: Final[Mapping[str, Target]] = {
    target.name: target
    for module in (
        http_requests,
        queries,
        tokens,
        websockets,
        store_messages,
        hub_messages,
        files,
        client_messages,
    )
    for target in module.TARGETS
}
"""By name, in the order of the report."""
