"""Deliver changed states to subscribers, one write per client and tick.

The hub knows which clients want which contracts. It passes everything that arrived in one tick of
the event loop to each client in one ``write``. A client that has fallen behind, because it is slow
or the store was away, catches up in several writes of some 64 KiB: what is not written yet can
still be replaced by something newer. The hub does no I/O: the loop's ``call_soon`` and
``call_later`` and the clocks are passed in, and a client is an object with a ``write`` (`Outlet`).

Every message carries the complete state, so the newest one replaces all older ones. That is why
a client that cannot take data needs one slot per contract instead of a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from operator import itemgetter
from typing import Any

from ime_live.gateway.hub.delivery import Delivery
from ime_live.gateway.hub.delivery_options import DEFAULTS, DeliveryOptions
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.hub.subscribers import Channel, Client, SubscriberGroup
from ime_live.gateway.hub.transport import Events, Outlet
from ime_live.market import Payload, Update


class Hub:
    """All clients of a process and the contracts they want. Use it on one event loop only."""

    def __init__(
        self,
        *,
        zone: tzinfo,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        call_soon: Callable[[Callable[[], None]], Any],
        call_later: Callable[[float, Callable[[], None]], Any],
        events: Events,
    ) -> None:
        """Make an empty hub.

        Args:
            zone: time zone of the timestamps.
            clock: microseconds since the epoch; stamps updates that come without a version.
            monotonic: seconds.
            call_soon: runs a callable at the end of the event loop's tick.
            call_later: runs a callable after so many seconds.
            events: counts what happens.
        """
        self._call_soon = call_soon
        self.states = StateTable(
            zone=zone,
            clock=clock,
            monotonic=monotonic,
            events=events,
            changed=self._schedule,
            late=self._fall_behind,
        )
        """The last states of the contracts; the reconciler compares them with the store."""
        self._delivery = Delivery(
            take=self.states.take,
            monotonic=monotonic,
            call_later=call_later,
            events=events,
            failed=self.leave,
        )
        self._groups: dict[object, SubscriberGroup] = {}
        self._behind: dict[Client, None] = {}
        """Clients that catch up at the end of this tick; they are paused until then."""
        self._scheduled = False

    # Contracts

    def open(self, contract_id: str) -> None:
        """Begin to keep a contract. The newest update is held until `load` gives its last state."""
        self.states.open(contract_id)

    def close(self, contract_id: str) -> None:
        """Forget a contract that no client wants any more."""
        self.states.close(contract_id)

    def load(self, contract_id: str, last: Update | None) -> None:
        """Set a contract's last state as the store has it, None if it has none.

        Call it after `open`, and again whenever updates may have been lost: clients get the state
        if it is new to them. Right after `open` it is not: nothing is sent until the next change.
        Clients that joined before the first call, because the store was away, get what has
        changed meanwhile.
        """
        self.states.load(contract_id, last)

    def publish(self, contract_id: str, version: int | None, payload: Payload) -> int:
        """Take an update that has arrived; see `StateTable.publish`."""
        return self.states.publish(contract_id, version, payload)

    def _fall_behind(self, client: Client, channel: Channel) -> None:
        # Paused until the end of the tick, so that all states loaded in it go out in one write.
        client.missed[channel] = None
        if client in client.group.ready:
            self.pause(client)
            self._behind[client] = None
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._end_of_tick)

    # Clients

    def join(
        self,
        selection: Mapping[str, bytes],
        outlet: Outlet,
        mode: DeliveryOptions = DEFAULTS,
    ) -> Client:
        """Add a client; it gets every change from now on.

        Args:
            selection: contract id → envelope of its messages; every contract is open.
            outlet: writes to its socket.
            mode: how it wants its messages.
        """
        # Updates that wait to be written were published before the client came.
        self.flush()
        group = self._group(selection, mode)
        client = Client(group, outlet.write, outlet.keep, self.states.accepted)
        group.ready[client] = client.write
        for channel in group.channels:
            if not channel.loaded:
                channel.waiting[client] = channel.opened
        return client

    def select(self, client: Client, selection: Mapping[str, bytes]) -> None:
        """Change the contracts that a client wants; it gets every change of those it adds.

        Args:
            client: nothing happens if it has left.
            selection: all contracts that it wants from now on, as in `join`.
        """
        self.flush()
        before = client.group
        if client not in before.ready and client not in before.paused:
            return
        group = self._group(selection, before.mode)
        if group is before:
            return
        client.group = group
        if before.ready.pop(client, None) is not None:
            group.ready[client] = client.write
        else:
            del before.paused[client]
            group.paused[client] = None
        for channel in before.channels.keys() - group.channels.keys():
            client.forget(channel)
        if client.known_later is None:
            client.known_later = {}
        for channel in group.channels:
            if channel not in before.channels:
                client.known_later[channel] = self.states.accepted
                if not channel.loaded:
                    channel.waiting[client] = channel.opened
        self._close_if_empty(before)

    def send_states(
        self, client: Client, newer_than: int = 0, contracts: Iterable[str] | None = None
    ) -> None:
        """Send the present states of a client's contracts that are newer than a version.

        Call it right after `join` or `select`, at most once. States that are not known yet
        follow when they are loaded.

        Args:
            client: nothing happens if it has left.
            newer_than: a version.
            contracts: ids of those to send; None for all.
        """
        wanted = None if contracts is None else set(contracts)
        if wanted is None:
            client.known_from = -1
            client.since = newer_than
            client.came = self.states.moment_of(newer_than)
        due: list[tuple[int, Channel]] = []
        for channel in client.group.channels:
            if wanted is not None:
                if channel.contract_id not in wanted or client.known_later is None:
                    continue
                client.known_later[channel] = -1
            if not channel.loaded:
                channel.waiting[client] = newer_than
                continue
            state = channel.state
            if state is not None and client.may_have_another(channel, state):
                state = self.states.again(channel, client)
                if state is not None:
                    client.reissue(channel, state)
            if state is not None and state.version > newer_than:
                due.append((state.version, channel))
        # Oldest first: if the connection breaks on the way, and the client reconnects with the
        # newest timestamp it has seen, it has not skipped those that were still to come.
        due.sort(key=itemgetter(0))
        client.missed.update((channel, None) for _, channel in due)
        if client in client.group.ready:
            self._delivery.catch_up(client)

    def tell(self, client: Client, make: Callable[[], bytes], about: object = None) -> None:
        """Send a frame that is not an update, after everything that the client has missed.

        Args:
            client: nothing happens if it has left.
            make: makes the frame when it is written: now, or when a paused client has caught up.
            about: key of the frame; the newest one replaces one with the same key that waits.
        """
        self.flush()
        if client in self._behind:
            self.resume(client)
        if client in client.group.ready:
            self._delivery.send(client, make())
        elif client in client.group.paused:
            if client.told is None:
                client.told = {}
            client.told[about] = make

    def leave(self, client: Client) -> None:
        """Remove a client; nothing happens if it has left before."""
        group = client.group
        if client not in group.ready and client not in group.paused:
            # It failed before its connection ended, and other clients may have joined its group.
            return
        group.ready.pop(client, None)
        group.paused.pop(client, None)
        self._behind.pop(client, None)
        self._delivery.pace.forget(client)
        for channel in group.channels:
            channel.waiting.pop(client, None)
        client.missed.clear()
        client.told = None
        self._close_if_empty(group)

    def pause(self, client: Client) -> None:
        """Stop writing to a client whose transport is not writable."""
        self._behind.pop(client, None)
        if client.group.ready.pop(client, None) is not None:
            client.group.paused[client] = None

    def resume(self, client: Client) -> None:
        """Write to a client again: it gets the newest message of each contract it missed."""
        self.flush()
        self._behind.pop(client, None)
        group = client.group
        if client in group.paused:
            del group.paused[client]
            group.ready[client] = client.write
            self._delivery.catch_up(client)

    def _group(self, selection: Mapping[str, bytes], mode: DeliveryOptions) -> SubscriberGroup:
        key = (mode, frozenset(selection.items()))
        group = self._groups.get(key)
        if group is None:
            channels = {
                self.states.channel(contract_id, mode.sections): envelope
                for contract_id, envelope in selection.items()
            }
            group = self._groups[key] = SubscriberGroup(key, channels, mode)
            for channel, envelope in channels.items():
                channel.groups[group] = envelope
        return group

    def _close_if_empty(self, group: SubscriberGroup) -> None:
        if not group.ready and not group.paused:
            self._groups.pop(group.key, None)
            for channel in group.channels:
                channel.groups.pop(group, None)
                if not channel.groups:
                    self.states.unwanted(channel)

    # The end of a tick

    def _end_of_tick(self) -> None:
        self._scheduled = False
        self.flush()
        while self._behind:
            self.resume(next(iter(self._behind)))

    def flush(self) -> None:
        """Write what has arrived since the last time, once to each client."""
        self._delivery.flush()
