"""Types from a program's side: `mypy --strict` accepts what is right and finds what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

RIGHT = """
from datetime import datetime
from typing import assert_type

import ime_live
from msgspec import UnsetType


async def stream() -> None:
    async with ime_live.connect("ws://h", ["A"], contract_ids=[1, "2"]) as stream:
        assert_type(stream, ime_live.Stream[ime_live.Payload])
        async for message in stream:
            assert_type(message, ime_live.Message[ime_live.Payload])
            assert_type(message.data, ime_live.Payload)
            assert_type(message.timestamp, datetime)
            assert_type(message.contract_name, str | None)
            assert_type(message.raw, bytes)
            assert_type(message.skipped, int)
            assert_type(message.data.best_limit["1"].buy_price, int | float)
        assert_type(await stream.add(["B"]), ime_live.Selected)
        if stream.status is not None:
            assert_type(stream.status.feed, ime_live.FeedState | None)
    async with ime_live.connect("ws://h", ["A"], sections=["Aggregate"]) as parts:
        async for part in parts:
            assert_type(part.data.aggregate, ime_live.Aggregate | UnsetType)


async def in_short() -> None:
    async for message in ime_live.connect("ws://h", ["A"], first_timeout=30):
        assert_type(message, ime_live.Message[ime_live.Payload])
    stream = await ime_live.connect(contract_names=["A"], sections=["Aggregate"])
    assert_type(stream, ime_live.Stream[ime_live.PayloadSections])


def on_connection(event: ime_live.ConnectionEvent) -> None:
    assert_type(event.connected, bool)
    assert_type(event.reason, str)
    assert_type(event.final, bool)


def plain() -> None:
    for message in ime_live.connect("ws://h", ["A"], on_connection=on_connection):
        assert_type(message, ime_live.Message[ime_live.Payload])
    with ime_live.connect("ws://h", ["A"], token=lambda: "t", queue="block") as stream:
        assert_type(stream, ime_live.BlockingStream[ime_live.Payload])
        for message in stream:
            assert_type(message.data.aggregate.last_price, int | float)


def wrapped(
    names: list[str], token: ime_live.Token, queue: ime_live.QueueName
) -> ime_live.Connecting[ime_live.PayloadSections]:
    sections: list[ime_live.SectionName] = ["BestLimit"]
    return ime_live.connect("ws://h", names, token=token, queue=queue, sections=sections)


def levels(best: ime_live.BestLimit) -> list[ime_live.Level]:
    return list(best)


async def rest() -> None:
    client = ime_live.AsyncClient("https://h", token="t")
    assert_type(await client.snapshot(["A"]), dict[str, ime_live.Payload | None])
    levels = await client.snapshot(["A"], section=ime_live.BestLimit)
    assert_type(levels, dict[str, ime_live.BestLimit | None])
    named = await client.snapshot(["A"], section="Aggregate")
    assert_type(
        named,
        dict[
            str,
            ime_live.BestLimit
            | ime_live.Aggregate
            | ime_live.AllowedPriceRange
            | ime_live.ContractInfo
            | None,
        ],
    )
    assert_type(await client.option_chain("GC"), list[ime_live.OptionPair])
    assert_type(await client.markets(), list[ime_live.MarketInfo])
    assert_type(await client.contracts(["A"]), list[ime_live.Contract | None])
    assert_type(await client.search(ime_live.Market.OPTION, "K"), list[ime_live.Contract])
    async with ime_live.AsyncClient(proxy="http://p:3128") as other:
        assert_type(other, ime_live.AsyncClient)
    with ime_live.Client("https://h", proxy=None) as blocking:
        assert_type(blocking.overview(["A"]), dict[str, ime_live.Overview | None])
"""

WRONG = """
import ime_live

ime_live.connect("ws://h", ["A"], queue="newest")
ime_live.connect("ws://h", ["A"], sections=["Nonsense"])
ime_live.connect("ws://h", ["A"], token=5)
with ime_live.connect("ws://h", ["A"], sections=["Aggregate"]) as stream:
    next(stream).data.aggregate.last_price
with ime_live.connect("ws://h", ["A"]) as whole:
    next(whole).data.nonsense
ime_live.connect("ws://h", ["A"]).receive()
ime_live.connect("ws://h", ["A"], on_connection=5)
"""


@pytest.mark.thorough
def test_program_with_the_library_type_checks(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(RIGHT)
    wrong.write_text(WRONG)
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\n")
    said, trouble, _ = api.run(
        [
            "--strict",
            f"--config-file={config}",
            "--cache-dir=.mypy_cache/programs",  # lint has other options
            *map(str, (right, wrong)),
        ]
    )
    assert trouble == ""
    assert "right.py" not in said, said
    lines = {int(number) for number in re.findall(r"wrong\.py:(\d+): error", said)}
    assert lines == {4, 5, 6, 8, 10, 11, 12}, said
