"""Each target notices a fault that is planted in the program."""

from __future__ import annotations

from typing import Any

import pytest

from fuzz.corpus import read_corpus
from fuzz.targets import TARGETS
from ime_live.gateway.auth.signed_token import Key
from ime_live.gateway.stream.subscription import Subscription
from tests.support.hub_world import B


def fails(*_: Any, **__: Any) -> None:  # noqa: ANN401 - in place of any method
    raise RuntimeError("planted")


def faults(name: str) -> list[Exception]:
    """The faults that the kept inputs of a target show."""
    found: list[Exception] = []
    for data in read_corpus(TARGETS[name]).values():
        try:
            TARGETS[name].check(data)
        except Exception as error:  # noqa: BLE001 - a fault of any kind
            found.append(error)
    return found


@pytest.mark.parametrize(
    ("target", "place", "planted", "said"),
    [
        ("tokens", (Key, "verify"), lambda *_: True, "PyJWT finds no key"),
        ("websockets", (Subscription, "close"), lambda _: None, "contracts are not released"),
        ("http-connections", "rest.handlers.static_data", fails, "status 500"),
        ("http-requests", "http.request_reader.body_size", lambda _: 0, "part of another one"),
        ("publications", "upstream.upstream.read_publication", lambda *_: (None, B), ""),
        ("store-records", "upstream.sections.check_size", fails, "planted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_target_notices_a_planted_fault(
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    place: str | tuple[type, str],
    planted: Any,  # noqa: ANN401 - in place of any function
    said: str,
) -> None:
    assert not faults(target)
    if isinstance(place, str):
        monkeypatch.setattr(f"ime_live.gateway.{place}", planted)
    else:
        monkeypatch.setattr(*place, planted)
    assert any(said in str(error) for error in faults(target))
