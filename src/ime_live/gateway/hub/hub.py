"""Deliver changed states to subscribers, one write per subscriber and tick.

The hub maps contracts to subscribers. All updates of a subscriber that arrive in one tick of the
event loop are written to it at once. A subscriber that has fallen behind, because it is slow or the
store could not be reached, catches up in several writes of about 64 KiB: newer states can still
replace those that are not written yet. The hub does no I/O: the loop's ``call_soon`` and
``call_later`` and the clocks are passed in, and a subscriber writes to a `TransportWriter`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ime_live.gateway.hub.channel import Change, Channel
from ime_live.gateway.hub.contract_ref import ContractRef
from ime_live.gateway.hub.delivery import Delivery
from ime_live.gateway.hub.delivery_options import DEFAULTS, DeliveryOptions
from ime_live.gateway.hub.state_table import StateTable
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.hub.subscriber_group import SubscriberGroup
from ime_live.gateway.hub.transport import Events, Send, TransportWriter

if TYPE_CHECKING:
    from ime_live.clock import Clock


class Hub:
    """All subscribers of a process, with their contracts. Use it on one event loop only."""

    def __init__(
        self,
        states: StateTable,
        *,
        send: Send,
        clock: Clock,
        call_soon: Callable[[Callable[[], None]], Any],
        call_later: Callable[[float, Callable[[], None]], Any],
        events: Events,
    ) -> None:
        """Make a hub without subscribers.

        Args:
            states: the last states of the contracts, and their changes.
            send: sends frames to sockets.
            clock: the machine's clock, for durations.
            call_soon: runs a callable at the end of the event loop's tick.
            call_later: runs a callable after a delay [s].
            events: counts deliveries and failures.
        """
        self._states = states
        self._call_soon = call_soon
        self._delivery = Delivery(
            send=send,
            take_changes=states.take_changes,
            clock=clock,
            call_later=call_later,
            events=events,
            on_failure=self.leave,
        )
        self._groups: dict[object, SubscriberGroup] = {}
        self._live: dict[Hashable, dict[SubscriberGroup, None]] = {}
        """Groups by their live selections."""
        self._behind: dict[Subscriber, None] = {}
        """Subscribers that catch up at the end of this tick; they are paused until then."""
        self._scheduled = False
        states.set_callbacks(on_change=self._schedule, on_late_state=self._fall_behind)

    def _fall_behind(self, subscriber: Subscriber, channel: Channel) -> None:
        # Paused until the end of the tick, so that all states loaded in it are written at once.
        subscriber.miss(channel)
        if subscriber.is_ready:
            subscriber.pause()
            self._behind[subscriber] = None
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._end_of_tick)

    # Subscribers

    def join(
        self,
        selection: Mapping[str, ContractRef],
        writer: TransportWriter,
        options: DeliveryOptions = DEFAULTS,
        live: Hashable | None = None,
    ) -> Subscriber:
        """Add a subscriber; it gets every change from now on.

        Args:
            selection: contract id → reference; every contract must be open in the state table.
            writer: writes to the client's socket.
            options: the delivery options.
            live: the live selection whose present contracts these are; `revise` changes them from
                now on. All subscribers with the same live selection and options share a group.

        Returns:
            The subscriber. It gets the present states after `send_states`.
        """
        # Updates that wait to be written were published before the subscriber joined.
        self.flush()
        return Subscriber(self._group(selection, options, live), writer, self._states.newest_number)

    def select(
        self,
        subscriber: Subscriber,
        selection: Mapping[str, ContractRef],
        live: Hashable | None = None,
    ) -> None:
        """Change the contracts of a subscriber; it gets every change of added contracts.

        Args:
            subscriber: the subscriber; nothing happens if it has left.
            selection: all contracts from now on, as in `join`.
            live: as in `join`.
        """
        self.flush()
        if subscriber.has_left:
            return
        before = subscriber.group
        group = self._group(selection, before.options, live)
        if group is not before:
            subscriber.move(group, self._states.newest_number)
            self._close_if_empty(before)

    def revise(
        self, live: Hashable, changed: Mapping[str, ContractRef], removed: Collection[str] = ()
    ) -> None:
        """Change a live selection for all its subscribers.

        They get the present states of added contracts, and every change from now on. Nothing more
        is sent about removed contracts.

        Args:
            live: the live selection; nothing happens if it has no subscriber.
            changed: contract id → reference, for contracts that are added, which must be open in
                the state table, and for contracts that get another name.
            removed: ids of contracts that leave the selection.
        """
        self.flush()
        for group in list(self._live.get(live, ())):
            sections = group.options.sections
            removed_channels = [
                self._states.channel(contract_id, sections) for contract_id in removed
            ]
            group.reduce(removed_channels)
            for channel in removed_channels:
                if not channel.has_groups:
                    self._states.drop_sections(channel)
            added: dict[Channel, ContractRef] = {}
            for contract_id, ref in changed.items():
                channel = self._states.channel(contract_id, sections)
                if channel in group.channels:
                    group.rename(channel, ref)
                else:
                    added[channel] = ref
            self._announce(group, added)

    def _announce(self, group: SubscriberGroup, added: Mapping[Channel, ContractRef]) -> None:
        group.extend(added, self._states.next_number())
        changes: list[Change] = []
        for channel in added:
            if not channel.loaded:
                for subscriber in group.members:
                    channel.await_state(subscriber, 0)
            elif channel.state is not None:
                changes.append((channel, channel.state, None))
        # Oldest first, as in `send_states`.
        changes.sort(key=lambda change: change[1].version)
        if changes:
            self._delivery.deliver_to(group, changes)

    def send_states(
        self, subscriber: Subscriber, newer_than: int = 0, contracts: Iterable[str] | None = None
    ) -> None:
        """Send the present states of a subscriber's contracts that are newer than a version.

        Call this right after `join` or `select`, at most once. States that are not loaded yet
        follow when they are.

        Args:
            subscriber: the subscriber; nothing happens if it has left.
            newer_than: a version; 0 for all states.
            contracts: ids of the contracts that were just added; None for all of the selection.
        """
        if subscriber.has_left:
            return
        channels: Collection[Channel] = subscriber.group.channels
        if contracts is None:
            subscriber.claim(newer_than, self._states.claim_time(newer_than))
        else:
            added = set(contracts)
            channels = [channel for channel in channels if channel.contract_id in added]
            subscriber.want(channels)
        newer: list[tuple[int, Channel]] = []
        for channel in channels:
            if not channel.loaded:
                channel.await_state(subscriber, newer_than)
                continue
            state = self._states.state_for(subscriber, channel)
            if state is not None and state.version > newer_than:
                newer.append((state.version, channel))
        # Oldest first: if the connection breaks in between, and the client reconnects with the
        # newest timestamp that it has received, it gets all states that were not sent.
        newer.sort(key=itemgetter(0))
        for _, channel in newer:
            subscriber.miss(channel)
        self._delivery.catch_up(subscriber)

    def send(self, subscriber: Subscriber, make: Callable[[], bytes], key: object = None) -> None:
        """Send a frame that is not an update, after all updates that the subscriber has missed.

        Args:
            subscriber: the subscriber; nothing happens if it has left.
            make: returns the frame. It is called when the frame is written: now, or when a paused
                subscriber has caught up.
            key: identifies the frame; it replaces a waiting frame with the same key.
        """
        self.flush()
        if subscriber in self._behind:
            self.resume(subscriber)
        if subscriber.is_ready:
            self._delivery.send(subscriber, make())
        elif not subscriber.has_left:
            subscriber.add_message(key, make)

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a subscriber; nothing happens if it has left before."""
        if subscriber.has_left:
            # A failed write removed it before its connection ended.
            return
        subscriber.leave()
        self._behind.pop(subscriber, None)
        self._delivery.timers.remove(subscriber)
        self._close_if_empty(subscriber.group)

    def pause(self, subscriber: Subscriber) -> None:
        """Stop writing to a subscriber whose transport is not writable."""
        self._behind.pop(subscriber, None)
        subscriber.pause()

    def resume(self, subscriber: Subscriber) -> None:
        """Write to a subscriber again, first the newest state of each contract that it missed."""
        self.flush()
        self._behind.pop(subscriber, None)
        if subscriber.resume():
            self._delivery.catch_up(subscriber)

    def _group(
        self,
        selection: Mapping[str, ContractRef],
        options: DeliveryOptions,
        live: Hashable | None,
    ) -> SubscriberGroup:
        if live is not None and (group := self._groups.get((options, live))) is not None:
            return group
        channels = {
            self._states.channel(contract_id, options.sections): ref
            for contract_id, ref in selection.items()
        }
        if live is not None:
            group = self._groups[options, live] = SubscriberGroup(
                (options, live), channels, options, live
            )
            self._live.setdefault(live, {})[group] = None
            return group
        # Channels and references are equal only if they are identical, so their order by id()
        # makes a key. A frozenset of both would be ten times as large.
        order = sorted(channels, key=id)
        key = (options, *order, *(channels[channel] for channel in order))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = SubscriberGroup(key, channels, options)
        return group

    def _close_if_empty(self, group: SubscriberGroup) -> None:
        if group.is_empty:
            self._groups.pop(group.key, None)
            if (groups := self._live.get(group.live)) is not None:
                groups.pop(group, None)
                if not groups:
                    del self._live[group.live]
            group.close()
            for channel in group.channels:
                if not channel.has_groups:
                    self._states.drop_sections(channel)

    # The end of a tick

    def _end_of_tick(self) -> None:
        self._scheduled = False
        self.flush()
        while self._behind:
            self.resume(next(iter(self._behind)))

    def flush(self) -> None:
        """Write all changes since the last call, in one write per subscriber."""
        self._delivery.flush()
