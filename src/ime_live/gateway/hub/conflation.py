"""Conflation: note which changes a client has missed, and send it the newest states instead.

A client misses changes while it is paused, or while it must not be sent a contract yet. Every
message carries the complete state, so this needs one slot per contract and no queue. No I/O.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import itemgetter

from ime_live.gateway.hub.frames import Format
from ime_live.gateway.hub.subscribers import Change, Channel, Client, State


def note(clients: Iterable[Client], changed: Iterable[Change]) -> int:
    """Note that the clients have missed these changes.

    Args:
        clients: those that do not get the changes now.
        changed: contracts, with the states that they have now and had before.

    Returns:
        How many messages were replaced by these before their client could take them.
    """
    conflated = 0
    for client in clients:
        missed = client.missed
        for channel, _, previous in changed:
            if channel in missed:
                conflated += 1
                _skip(client, channel)
            elif previous is not None and client.knows(channel, previous):
                missed[channel] = previous
            else:
                missed[channel] = None
    return conflated


def next_frames(
    client: Client, limit: int, until: float = 0.0, among: Iterable[Channel] | None = None
) -> list[bytes]:
    """Take the frames that a client gets next, in the order in which it missed them.

    Args:
        client: must be ready to take data.
        limit: bytes after which no further frame is added; the next call returns the rest.
        until: when it may be sent these contracts again, if it has a `max_rate`.
        among: contracts to look at; None for all that it misses.
    """
    group, missed = client.group, client.missed
    closed, skipped = client.closed, client.skipped
    oldest = _Oldest(client) if group.wrapping is Format.EVENT else None
    frames: list[bytes] = []
    size = 0
    for channel in list(missed) if among is None else among:
        if size >= limit:
            break
        if channel not in missed or (closed and channel in closed):
            continue
        known = missed.pop(channel)
        state = channel.state
        if state is None:
            continue
        if known is not None and state.payload == known.payload:
            # The state is what the client has already, whatever came between: no change for it.
            _note_unsent(client, channel, state, known)
            _skip(client, channel)
            continue
        shown = state if client.reissued is None else _shown(client, channel, state)
        frame = shown.frame(
            group.channels[channel],
            group.wrapping,
            None if skipped is None else skipped.pop(channel, 0),
            named=oldest is None or oldest.left() > shown.version,
        )
        frames.append(frame)
        size += len(frame)
        if closed is not None:
            closed[channel] = until, shown.timestamp
    return frames


class _Oldest:
    """The oldest state that a client still misses while it catches up.

    A client that reconnects sends the id of its last event, and gets what is newer. So an event
    has no id while an older one is still to come: after a break, that one would be lost.
    """

    def __init__(self, client: Client) -> None:
        self._missed = client.missed
        states = [(channel.state.version, channel) for channel in client.missed if channel.state]
        self._order = sorted(states, key=itemgetter(0), reverse=True)

    def left(self) -> float:
        """Return its version; infinity if the client misses nothing any more."""
        order = self._order
        while order and order[-1][1] not in self._missed:
            order.pop()
        return order[-1][0] if order else math.inf


def _shown(client: Client, channel: Channel, state: State) -> State:
    """Return the state as this client gets it: with a newer version if it was reissued."""
    again = client.reissued.pop(channel, None) if client.reissued is not None else None
    if again is None or again.version <= state.version:
        return state
    client.note_unsent(channel, state, again.timestamp)
    return again


def _skip(client: Client, channel: Channel) -> None:
    if client.skipped is not None:
        client.skipped[channel] = client.skipped.get(channel, 0) + 1


def _note_unsent(client: Client, channel: Channel, state: State, known: State) -> None:
    before = client.unsent.get(channel) if client.unsent else None
    # The state that the client knew may be one that it was not sent either.
    chained = before is not None and before[0] is known
    client.note_unsent(channel, state, before[1] if before and chained else known.timestamp)


def other_timestamps(client: Client) -> dict[Channel, bytes]:
    """Return the contracts whose present state the client knows by another timestamp, with it.

    Either it has an equal state, or it has a `max_rate` and is sent the present state later.
    """
    others: dict[Channel, bytes] = {}
    if client.unsent is not None:
        present = {
            channel: held for channel, held in client.unsent.items() if held[0] is channel.state
        }
        # The others were sent a newer state meanwhile.
        client.unsent = present or None
        others = {channel: timestamp for channel, (_, timestamp) in present.items()}
    if client.closed:
        others.update((t, client.closed[t][1]) for t in client.missed if t in client.closed)
    return others
