"""Watch app: show a live table of contracts in a terminal, with Textual.

A message replaces the waiting one of its contract. Once per interval, the cells that have changed
are painted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC
from typing import Any, ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import DataTable, Footer, Input, Static

from ime_live.client.connecting import Connecting
from ime_live.client.protocol.message import ConnectionEvent
from ime_live.client.stream.stream import Stream
from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import ImeLiveError
from ime_live.market import Payload
from ime_live.spelling import pluralize
from ime_live.terminal.quote_list import COLUMNS, QuoteList, QuoteRow, number

INTERVAL: Final = 0.2
"""Seconds between two paintings."""

_ARROWS: Final = {1: "▲", 0: " ", -1: "▼"}
_COLOURS: Final = {1: "green", 0: "", -1: "red"}
_OLD: Final = 60.0
"""Seconds from which on a state was not sent because it has changed, but at the stream's start."""

_WIDE: Final = 100
"""Columns of a terminal from which on the chosen contract is shown beside the table."""


class WatchApp(App[ImeLiveError | None]):
    """Shows the contracts of a stream; `run_async` returns the error that has ended it, if any."""

    TITLE = "ime-live"
    CSS = """
    #body { height: 1fr; }
    #table { width: 1fr; }
    #depth { width: 42; padding: 0 1; border-left: solid $primary; }
    #body.narrow { layout: vertical; }
    #body.narrow #depth { width: 1fr; height: 11; border-left: none; border-top: solid $primary; }
    #search { display: none; height: 3; }
    #search.open { display: block; }
    #status { height: 1; background: $panel; padding: 0 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("slash", "search", "Search"),
        Binding("escape", "clear", "Clear search", show=False, priority=True),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("d", "depth", "Depth"),
    ]

    def __init__(
        self,
        connect: Callable[[Callable[[ConnectionEvent], object]], Connecting[Payload]],
        place: str,
        *,
        interval: float = INTERVAL,
    ) -> None:
        """Create the app; it connects when it runs.

        Args:
            connect: makes the stream, given the callback for connection events.
            place: address of the service, to be shown.
            interval: seconds between two paintings.
        """
        super().__init__()
        self.quotes = QuoteList()
        self._connect = connect
        self._place = place
        self._interval = interval
        self._stream: Stream[Payload] | None = None
        self._reason = "connecting"
        self._shown: list[str] = []
        """Names of the rows in the table, in its order."""
        self._lit: set[str] = set()
        """Names of the rows whose last price stands out."""
        self._receiving: asyncio.Task[None] | None = None

    def compose(self) -> ComposeResult:
        """Create the widgets."""
        yield Input(placeholder="part of a name; Enter keeps it, Esc clears it", id="search")
        with Horizontal(id="body"):
            yield DataTable(id="table", cursor_type="row", zebra_stripes=True)
            yield Static(id="depth")
        yield Static(id="status")
        yield Footer()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#table", DataTable)

    def on_mount(self) -> None:
        """Start receiving and painting."""
        for column in COLUMNS:
            # Widths that follow the contents would be measured again for all rows at each change.
            self._table.add_column(column.title, key=column.key, width=column.width)
        self._head()
        self._table.focus()
        self._receiving = asyncio.create_task(self._receive())
        self.set_interval(self._interval, self.paint)

    async def on_unmount(self) -> None:
        """Close the connection."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)

    async def _receive(self) -> None:
        try:
            async with self._connect(self._note) as stream:
                self._stream = stream
                async for message in stream:
                    self.quotes.take(message, SYSTEM_CLOCK.local(UTC))
        except ImeLiveError as error:
            self.exit(error)

    def _note(self, event: ConnectionEvent) -> None:
        self._reason = "" if event.connected else event.reason

    def on_resize(self) -> None:
        """Put the chosen contract below the table where the terminal is narrow."""
        self.query_one("#body").set_class(self.size.width < _WIDE, "narrow")

    # Painting.

    def paint(self) -> None:
        """Paint the changes since the last call."""
        changed = self.quotes.read()
        rows = self.quotes.rows()
        names = [row.name for row in rows]
        with self.batch_update():
            if len(names) == len(self._shown) and set(names) == set(self._shown):
                self._update(rows, changed)
                if names != self._shown:
                    self._reorder(names)
            else:
                self._rebuild(rows)
            self._show_depth()
            self.query_one("#status", Static).update(self._status())

    def _update(self, rows: list[QuoteRow], changed: set[str]) -> None:
        lit = {row.name for row in rows if self.quotes.stands_out(row)}
        due, self._lit = changed | (lit ^ self._lit), lit
        for row in rows:
            if row.name in due:
                for column, cell in zip(COLUMNS, self._cells(row), strict=True):
                    if self._table.get_cell(row.name, column.key) != cell:
                        self._table.update_cell(row.name, column.key, cell)

    def _reorder(self, names: list[str]) -> None:
        """Sort the rows again, and keep existing cells."""
        table = self._table
        selected, scroll = self._chosen(), table.scroll_y
        places = {name: n for n, name in enumerate(names)}
        table.sort(COLUMNS[0].key, key=lambda cell: places[cell.plain])
        self._shown = names
        if selected is not None:
            table.move_cursor(row=places[selected], scroll=False)
            table.scroll_to(y=scroll, animate=False)

    def _rebuild(self, rows: list[QuoteRow]) -> None:
        table = self._table
        selected, scroll = self._chosen(), table.scroll_y
        at = table.cursor_row
        table.clear()
        for row in rows:
            table.add_row(*self._cells(row), key=row.name)
        self._shown = [row.name for row in rows]
        if self._shown:
            # The cursor stays on its contract, wherever sorting has moved it.
            place = (
                self._shown.index(selected) if selected in self._shown else min(at, len(rows) - 1)
            )
            table.move_cursor(row=place, scroll=False)
            table.scroll_to(y=scroll, animate=False)

    def _cells(self, row: QuoteRow) -> list[Text]:
        cells = []
        for column in COLUMNS:
            style = ""
            text = column.text(row)
            if column.key == "last":
                text = f"{text} {_ARROWS[row.direction]}"
                style = _COLOURS[row.direction]
                if self.quotes.stands_out(row):
                    style += " reverse"
            elif column.key == "change" and row.change:
                style = _COLOURS[1 if row.change > 0 else -1]
            is_name = column.key == "name"
            cells.append(Text(text, style=style, justify="left" if is_name else "right"))
        return cells

    def _chosen(self) -> str | None:
        at = self._table.cursor_row
        return self._shown[at] if 0 <= at < len(self._shown) else None

    def _show_depth(self) -> None:
        name = self._chosen()
        row = None if name is None else self.quotes.get(name)
        self.query_one("#depth", Static).update(Text("") if row is None else depth_of(row))

    def _status(self) -> Text:
        stream, quotes = self._stream, self.quotes
        connected = stream is not None and stream.connected
        status = None if stream is None else stream.status
        text = Text(no_wrap=True, overflow="ellipsis")
        if connected:
            feed = "no feed" if status is None or status.feed is None else f"feed {status.feed}"
            good = status is not None and status.feed in ("live", "closed")
            text.append(f"connected, {feed}", style="green" if good else "yellow")
        else:
            text.append(f"not connected: {self._reason or 'lost'}", style="red")
        count = f"{len(self._shown)} of " if quotes.search else ""
        text.append(f" · {count}{pluralize(len(quotes), 'contract')} · {quotes.rate:.0f}/s")
        if quotes.lag is not None and quotes.lag < _OLD:
            text.append(f" · lag {quotes.lag * 1000:,.0f} ms")
        if quotes.unreadable:
            text.append(f" · {quotes.unreadable} unreadable", style="red")
        text.append(f" · {self._place}")
        return text

    def _head(self) -> None:
        """Mark the sorted column in the headings."""
        for key, column in self._table.columns.items():
            title = next(column.title for column in COLUMNS if column.key == key.value)
            mark = (
                "" if key.value != self.quotes.sort_key else " ↓" if self.quotes.reverse else " ↑"
            )
            column.label = Text(title + mark)
        self._table.refresh()

    # Actions of the user.

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Sort by the column whose heading was clicked; a second click reverses."""
        self._sort_by(str(event.column_key.value))

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """Show the depth of the contract that the cursor is on."""
        self._show_depth()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search on each key."""
        self.quotes.search = event.value
        self.paint()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Keep the search, and go back to the table."""
        self._table.focus()

    def action_search(self) -> None:
        """Open the search."""
        box = self.query_one("#search", Input)
        box.add_class("open")
        box.focus()

    def action_clear(self) -> None:
        """Close the search, and show all contracts."""
        box = self.query_one("#search", Input)
        box.value = ""
        box.remove_class("open")
        self._table.focus()

    def action_sort(self, step: int) -> None:
        """Sort by the next column."""
        keys = [column.key for column in COLUMNS]
        at = keys.index(self.quotes.sort_key)
        self._sort_by(keys[(at + step) % len(keys)])

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._sort_by(self.quotes.sort_key)

    def action_depth(self) -> None:
        """Hide the chosen contract's depth, or show it again."""
        depth = self.query_one("#depth")
        depth.display = not depth.display

    def _sort_by(self, key: str) -> None:
        same = key == self.quotes.sort_key
        # Numbers are sorted with the largest first, names alphabetically.
        self.quotes.reverse = not self.quotes.reverse if same else key != COLUMNS[0].key
        self.quotes.sort_key = key
        self._head()
        self.paint()


def depth_of(row: QuoteRow) -> Text:
    """Return a contract's order book, day and limits as text of 40 columns."""
    payload = row.payload
    day, limits, info = payload.aggregate, payload.allowed_price_range, payload.contract_info
    most = max(q for level in payload.best_limit for q in (level.buy_quantity, level.sell_quantity))
    text = Text(no_wrap=True)
    text.append(f"{row.name}\n", style="bold")
    for level in payload.best_limit:
        bid = _bar(level.buy_quantity, most)
        ask = _bar(level.sell_quantity, most)
        text.append(f"{bid:>5} {number(level.buy_price):>13}", style="green")
        text.append(" │ ")
        text.append(f"{number(level.sell_price):<12} {ask:<5}\n", style="red")
        text.append(
            f"{number(level.buy_quantity):>19} │ {number(level.sell_quantity)}\n", style="dim"
        )
    text.append(f"day    {number(day.low_price)} … {number(day.high_price)}\n")
    lowest, highest = limits.min_allowed_price, limits.max_allowed_price
    text.append(f"limits {number(lowest)} … {number(highest)}\n")
    text.append(f"open {number(day.open_price)}  close before {number(day.previous_close)}\n")
    text.append(f"{number(day.trade_count)} trades, {number(day.total_volume)} in volume\n")
    text.append(f"open interest {number(info.open_interest)} ({info.open_interest_changes:+,})\n")
    return text


def _bar(quantity: Any, most: Any) -> str:  # noqa: ANN401 - numbers of JSON
    return "█" * max(1, round(5 * quantity / most)) if quantity > 0 and most > 0 else ""
