"""Missed: what a slow client has not got, and what it gets instead.

Changes come in while the client is paused; frames of the newest states go out once it takes data
again. Every message carries the complete state, so this needs one slot a contract and no queue.
Nothing here writes, and nobody but the hub calls what changes a client.
"""

from __future__ import annotations

from collections.abc import Iterable

from ime_live.gateway.topic import Client, State, Topic


def note(clients: Iterable[Client], changed: Iterable[tuple[Topic, State | None]]) -> int:
    """Note that the clients have missed changes.

    Args:
        clients: those who are paused.
        changed: contracts, and the states that they had before.

    Returns:
        How many messages were replaced by these before their client could take them.
    """
    conflated = 0
    for client in clients:
        missed = client.missed
        for topic, previous in changed:
            if topic in missed:
                conflated += 1
            elif previous is not None and previous.number > client.known_from:
                missed[topic] = previous
            else:
                missed[topic] = None
    return conflated


def next_frames(client: Client, limit: int) -> list[bytes]:
    """Take what the client is to get next, in the order in which it began to miss it.

    Args:
        client: which takes data again.
        limit: bytes after which no further frame is added; what is left is for the next call.
    """
    audience, missed = client.audience, client.missed
    frames: list[bytes] = []
    size = 0
    while missed and size < limit:
        topic = next(iter(missed))
        known = missed.pop(topic)
        state = topic.state
        if state is None:
            continue
        if known is not None and state.payload == known.payload:
            # Back where it was: no change for this client, whatever came between.
            _note_unsent(client, topic, state, known)
            continue
        frame = state.frame(audience.topics[topic], audience.compressed)
        frames.append(frame)
        size += len(frame)
    return frames


def _note_unsent(client: Client, topic: Topic, state: State, known: State) -> None:
    if client.unsent is None:
        client.unsent = {}
    before = client.unsent.get(topic)
    # What the client knew may be a state that it was not sent either.
    chained = before is not None and before[0] is known
    client.unsent[topic] = state, before[1] if before and chained else known.timestamp


def older_timestamps(client: Client) -> dict[Topic, bytes]:
    """Contracts whose present state the client has under an older time stamp, and that stamp."""
    if client.unsent is None:
        return {}
    present = {topic: held for topic, held in client.unsent.items() if held[0] is topic.state}
    # The others were sent a newer state meanwhile.
    client.unsent = present or None
    return {topic: timestamp for topic, (_, timestamp) in present.items()}
