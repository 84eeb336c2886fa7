"""The command that shows the messages on the channels of contracts in Redis."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ime_live.cli.arguments.options import with_settings
from ime_live.cli.running import colour, run, write_stderr
from ime_live.errors import SettingsError
from ime_live.settings import StoreSettings
from ime_live.timezones import zone_of_tehran

if TYPE_CHECKING:
    from ime_live.doctor.channel_tail import Arrival


@with_settings(StoreSettings)
def tail(
    ids: Annotated[list[str], typer.Argument(metavar="ID|NAME", help="Contracts by id or name.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one line of JSON per message.")
    ] = False,
    count: Annotated[
        int,
        typer.Option("--count", metavar="NUMBER", help="Number of messages to show; 0 shows all."),
    ] = 0,
    *,
    settings: StoreSettings,
) -> None:
    """Show the messages of publishers, and explain their faults.

    Use it to test a publisher. Each message is checked as in a gateway, and compared with the
    previous message and the stored state. After an outage of Redis it reconnects; Ctrl-C ends it.
    """
    if count < 0:
        raise SettingsError(f"--count must be 0 or more, got {count}")
    for name in ids:
        if not name.strip():
            raise SettingsError(f"an id must not be empty, got {name!r}")

    from ime_live.doctor.channel_tail import ChannelTail
    from ime_live.store.store import check_settings

    async def work() -> None:
        await check_settings(settings, writes=False)
        remaining = count
        async with ChannelTail(settings, ids) as arrivals:
            for text in await arrivals.start():
                write_stderr(text)
            async for arrival in arrivals:
                if isinstance(arrival, str):
                    write_stderr(arrival)
                    continue
                for line in [_encode(arrival)] if as_json else _format(arrival):
                    typer.echo(line)
                if (remaining := remaining - 1) == 0:
                    return

    run(work())


def _encode(arrival: Arrival) -> bytes:
    review = arrival.review
    return msgspec.json.encode(
        {
            "contractId": arrival.contract_id,
            "contractName": arrival.contract_name,
            "received": arrival.received,
            "version": review.version,
            "accepted": review.accepted,
            "faults": review.faults,
            "notes": review.notes,
            "data": review.payload,
        }
    )


def _format(arrival: Arrival) -> list[str]:
    review = arrival.review
    at = f"{datetime.fromtimestamp(arrival.received / 1e6, zone_of_tehran()):%H:%M:%S.%f}"[:-3]
    name = f" {arrival.contract_name}" if arrival.contract_name else ""
    parts = [f"{at} {arrival.contract_id}{name}"]
    if review.version is not None:
        parts.append(f"version {review.version}")
    if review.payload is not None:
        best, day = review.payload.best_limit["1"], review.payload.aggregate
        parts.append(f"bid {best.buy_price} ask {best.sell_price} last {day.last_price}")
    parts.append(f"{len(arrival.raw)} bytes")
    outcome = colour("ok", "green") if review.accepted else colour("dropped", "red")
    lines = [", ".join(parts) + f": {outcome}"]
    lines += [f"  {colour('fault', 'red')}: {fault}" for fault in review.faults]
    lines += [f"  {colour('note', 'yellow')}: {note}" for note in review.notes]
    return lines
