"""The table in a terminal, run by Textual without a screen: keys, status and colours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from ime_live.client.protocol.message import ConnectionEvent
from ime_live.errors import AuthenticationError
from ime_live.terminal.quote_list import COLUMNS
from ime_live.terminal.watch_app import WatchApp
from tests.support.marks import thorough
from tests.terminal.states import FakeStream, message_of

MakePayload = Callable[..., dict[str, Any]]


class Watched:
    """A running app, and the stream that it shows."""

    def __init__(self, app: WatchApp, stream: FakeStream, pilot: Pilot[Any]) -> None:
        self.app, self.stream, self.pilot = app, stream, pilot

    @property
    def table(self) -> DataTable[Any]:
        return self.app.query_one(DataTable)

    async def painted(self) -> None:
        """Wait until what has arrived is painted."""
        await self.pilot.pause()
        self.app.paint()
        await self.pilot.pause()

    def column(self, key: str) -> list[str]:
        """The texts of a column, from the top."""
        return [str(each) for each in self.table.get_column(key)]

    def text(self, name: str) -> str:
        """The text of a part of the screen."""
        return str(self.app.query_one(f"#{name}", Static).render())


@asynccontextmanager
async def watched(
    payload: MakePayload, *names: str, size: tuple[int, int] = (120, 24)
) -> AsyncIterator[Watched]:
    stream = FakeStream()

    def connect(tell: Callable[[ConnectionEvent], object]) -> Any:  # noqa: ANN401 - stands for it
        stream.tell = tell
        return stream

    app = WatchApp(connect, "127.0.0.1:8000", interval=3600)  # the test paints
    async with app.run_test(size=size) as pilot:
        made = Watched(app, stream, pilot)
        stream.put(*(message_of(payload(), name, last_price=n + 1) for n, name in enumerate(names)))
        await made.painted()
        yield made


async def test_table_shows_states_and_changes_only_the_changed_cells(
    payload: MakePayload, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(payload, "B", "A") as watch:
        assert watch.column("name") == ["A", "B"]
        assert watch.column("last") == ["2  ", "1  "]
        written: list[str] = []
        update = watch.table.update_cell

        def note(row: str, column: str, cell: object, **options: bool) -> None:
            written.append(f"{row} {column}")
            update(row, column, cell, **options)

        monkeypatch.setattr(watch.table, "update_cell", note)
        watch.stream.put(message_of(payload(), "B", 1, last_price=9))
        await watch.painted()
        assert watch.column("last") == ["2  ", "9 ▲"]
        assert sorted(written) == ["B last", "B time"]


async def test_keys_sort_search_and_quit(payload: MakePayload) -> None:
    async with watched(payload, "SAF1", "SAF2", "GC1") as watch:
        await watch.pilot.press("s")
        assert watch.column("name") == ["GC1", "SAF2", "SAF1"]
        await watch.pilot.press("r")
        assert watch.column("name") == ["SAF1", "SAF2", "GC1"]
        await watch.pilot.press("slash", *"saf2")
        assert watch.column("name") == ["SAF2"]
        await watch.painted()
        assert "1 of 3 contracts" in watch.text("status")
        await watch.pilot.press("escape")
        assert len(watch.column("name")) == 3
        await watch.pilot.press("q")
    assert watch.app.return_value is None


async def test_cursor_stays_on_its_contract_and_its_depth_is_shown(payload: MakePayload) -> None:
    async with watched(payload, "A", "B", "C") as watch:
        await watch.pilot.press("down")
        await watch.painted()
        assert watch.text("depth").startswith("B\n")
        assert "1,163,000 │ 1,163,500" in watch.text("depth")
        await watch.pilot.press("s")
        await watch.pilot.press("r")
        assert watch.text("depth").startswith("B\n")
        await watch.pilot.press("d")
        assert not watch.app.query_one("#depth").display


async def test_status_says_connection_rate_and_lag(payload: MakePayload) -> None:
    async with watched(payload, "A") as watch:
        assert "connected, no feed · 1 contract ·" in watch.text("status")
        assert "/s" in watch.text("status")
        assert "lag" not in watch.text("status")  # the state is older
        watch.stream.connected = False
        watch.stream.tell(ConnectionEvent(connected=False, reason="it was refused"))
        await watch.painted()
        assert "not connected: it was refused" in watch.text("status")


async def test_error_that_ends_the_stream_ends_the_app(
    payload: MakePayload,
) -> None:
    async with watched(payload, "A") as watch:
        watch.stream.put(AuthenticationError("token expired"))
        await watch.painted()
    assert isinstance(watch.app.return_value, AuthenticationError)


@pytest.mark.parametrize("size", [(20, 5), thorough((60, 20)), thorough((200, 60))])
async def test_table_fits_terminals_of_any_size(
    payload: MakePayload, size: tuple[int, int]
) -> None:
    async with watched(payload, *(f"C{n}" for n in range(100)), size=size) as watch:
        assert watch.table.row_count == 100
        assert watch.app.query_one("#body").has_class("narrow") is (size[0] < 100)
        await watch.pilot.resize_terminal(90, 30)
        await watch.painted()
        await watch.pilot.press("ctrl+end")
        await watch.painted()
        assert watch.table.cursor_row == 99


async def test_prices_are_coloured_and_arrows_tell_the_direction_without_colours(
    payload: MakePayload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with watched(payload, "A") as watch:
        watch.stream.put(message_of(payload(), "A", 1, last_price=9))
        await watch.painted()
        cell = watch.table.get_cell("A", COLUMNS[1].key)
        assert str(cell) == "9 ▲"
        assert "green" in str(cell.style)
        assert watch.app.no_color
