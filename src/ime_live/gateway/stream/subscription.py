"""Open, change and close the contracts of one stream.

A subscription checks the request and the token, acquires the contracts upstream, joins the hub
and the status messages, carries out commands while the stream runs, and releases everything at
the end. It works for any transport: the caller passes a `TransportWriter`, and itself sends the
bytes before and after the messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

import msgspec

from ime_live.errors import RefusedError
from ime_live.gateway.auth.identity import ANONYMOUS, Identity
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.hub.transport import TransportWriter
from ime_live.gateway.limits.stream_limits import Permit
from ime_live.gateway.query.stream_query import (
    UNKNOWN,
    ContractNotFoundError,
    StreamRequest,
    StreamSelection,
    select,
)
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.stream.live_selections import LiveSelection
from ime_live.gateway.stream.selection import SelectionChange, answer, change_selection
from ime_live.market import timestamp_of
from ime_live.messages import Action, ControlFault, ControlRequest

# Contract names that are logged per stream; a request may have a thousand.
_LOGGED_CONTRACTS: Final = 10


class Subscription:
    """The contracts of one stream: `open`, `begin`, `change`, `close`."""

    __slots__ = (
        "_added",
        "_context",
        "_current",
        "_identity",
        "_initial",
        "_live",
        "_next_live",
        "_request",
        "subscriber",
    )

    def __init__(self, context: GatewayContext) -> None:
        """Make a subscription without contracts."""
        self._context = context
        self._request: StreamRequest
        """The request; without its contracts if they are many, which saves memory."""
        self._identity: Identity
        self._initial: Mapping[str, ContractRef] = {}
        """The selection until `begin`; from then on the subscriber group has it."""
        self._live: LiveSelection | None = None
        """The selection, if it has filters."""
        self._next_live: LiveSelection | None = None
        """The selection that a command has opened and that does not apply yet."""
        self._added: Collection[str] = ()
        """Ids of contracts that a command has acquired and that are not in the selection yet."""
        self._current: Collection[str] = ()
        """Ids of contracts that were current at the opening, for the first status message."""
        self.subscriber: Subscriber | None = None
        """The subscriber of this stream; None before `begin` and after `close`."""

    @property
    def _selection(self) -> Mapping[str, ContractRef]:
        """Contract id → reference, for all contracts that are acquired."""
        if self._live is not None:
            return self._live.contracts
        return self._initial if self.subscriber is None else self.subscriber.group.selection

    async def open(
        self,
        request: StreamRequest,
        token: str | None,
        permit: Permit,
        note: Callable[[dict[str, object]], None],
    ) -> Identity:
        """Check the request and the token, and acquire the contracts.

        Args:
            request: the request for the stream.
            token: the client's token; None without one.
            permit: permit of the stream, which is claimed for the subject of the token.
            note: called with fields for the stream's log lines, as soon as they are known.

        Returns:
            The identity in the token.

        Raises:
            RefusedError: the stream is refused.
        """
        try:
            return await self._open(request, token, permit, note)
        except RefusedError as refusal:
            if refusal.detail:
                note({"detail": refusal.detail})
            raise

    async def _open(
        self,
        request: StreamRequest,
        token: str | None,
        permit: Permit,
        note: Callable[[dict[str, object]], None],
    ) -> Identity:
        context = self._context
        self._request = request
        if len(request.contracts) > _LOGGED_CONTRACTS:
            self._request = msgspec.structs.replace(request, contracts=())
        self._identity = identity = await context.authenticator.authenticate(token)
        note(
            {
                "subject": identity.subject,
                "by": request.by.value,
                "contracts": request.contracts[:_LOGGED_CONTRACTS],
                "count": len(request.contracts),
            }
        )
        if identity.subject != ANONYMOUS:
            permit.claim(identity.subject)
        registry = context.contract_cache.registry
        try:
            selected = select(request, registry, identity.may_see, context.settings.max_contracts)
        except ContractNotFoundError as refusal:
            context.diagnostics.explain_refusal(refusal, registry, identity.may_see)
            raise
        if selected.filters:
            note({"filters": len(selected.filters), "markets": request.markets})
            self._live = live = context.live_selections.open(selected, identity)
            await context.live_selections.wait_for_arrivals(live)
        else:
            self._initial = selected.named
            await context.upstream.acquire(selected.named)
        selection = self._selection
        context.upstream.check_channels(selection)
        if request.status:
            if request.newer_than:
                context.states.expect(selection, request.newer_than)
            self._current = await context.status_loop.compare(selection)
        return identity

    def begin(self, writer: TransportWriter, format_: wire.Format) -> Subscriber:
        """Join the hub, which sends changes from now on; `send_first` sends the present states.

        Args:
            writer: writes to the client's socket.
            format_: format of the messages.
        """
        hub = self._context.hub
        options = self._request.options
        if options.format is not format_:
            options = msgspec.structs.replace(options, format=format_)
        selection, live = self._selection, self._live
        self.subscriber = subscriber = hub.join(selection, writer, options, live)
        self._initial = {}
        if live is not None and self._request.status:
            self._context.live_selections.watch(live, subscriber)
        return subscriber

    def send_first(self) -> None:
        """Send the present states and the first status message, if the request wants them."""
        context, request, subscriber = self._context, self._request, self.subscriber
        if subscriber is None:
            return
        if request.newer_than is not None:
            context.hub.send_states(subscriber, request.newer_than)
        if request.status:
            contracts = len(subscriber.group.channels)
            context.status_messages.add(subscriber, current=len(self._current) == contracts)
            self._current = ()

    async def change(
        self, request: ControlRequest, writable: Callable[[], Awaitable[object]]
    ) -> None:
        """Carry out a command of the client, and answer it. Calls must not overlap.

        Args:
            request: the command.
            writable: waits until the client's socket is writable, so that answers do not pile up.
        """
        context, live = self._context, self._live
        selected = (
            StreamSelection(self._selection)
            if live is None
            else StreamSelection(live.named, live.filters)
        )
        change = change_selection(
            selected,
            request,
            context.contract_cache.registry,
            self._identity.may_see,
            context.settings.max_contracts,
            by=self._request.by,
            matching=() if live is None else live.contracts.keys() - live.named.keys(),
        )
        self._log_unknown(request, change)
        try:
            await self._acquire(change)
            context.upstream.check_channels(
                self._added if self._next_live is None else self._next_live.contracts
            )
        except RefusedError as error:
            self._release_added()
            self.reject(error.reason, request.id, request.action)
            return
        next_live = self._next_live
        selection = change.selection if next_live is None else next_live.contracts
        current: Collection[str] = ()
        if self._request.status:
            current = await context.status_loop.compare(selection)
        await writable()
        subscriber = self.subscriber
        if subscriber is None:
            return  # the client has left meanwhile, and everything was released
        # A live selection may have changed while this method waited.
        selection = change.selection if next_live is None else next_live.contracts
        previous = self._selection
        text = answer(
            change.selection,
            change.faults,
            request_id=request.id,
            action=request.action,
            filters=change.filters,
            matching=() if next_live is None else next_live.matching,
        )
        self._send(subscriber, text)
        wants_status = context.status_messages.remove(subscriber)
        context.hub.select(subscriber, selection, next_live)
        if subscriber.has_left:
            return  # writing the answer failed; `close` releases all contracts
        added = [contract_id for contract_id in selection if contract_id not in previous]
        self._replace(change, previous)
        snapshot = request.snapshot
        if self._request.newer_than == 0 if snapshot is None else snapshot:
            context.hub.send_states(subscriber, 0, added)
        if wants_status:
            context.status_messages.add(subscriber, current=len(current) == len(selection))

    async def _acquire(self, change: SelectionChange) -> None:
        """Acquire the added contracts of a change; all contracts if the stream has or had filters.

        Raises:
            RefusedError: more contracts match than a stream may have.
        """
        context = self._context
        if change.filters:
            selection = StreamSelection(change.selection, change.filters)
            self._next_live = context.live_selections.open(selection, self._identity)
            await context.live_selections.wait_for_arrivals(self._next_live)
            return
        self._added = change.added if self._live is None else tuple(change.selection)
        if self._added:
            await context.upstream.acquire(self._added)

    def _replace(self, change: SelectionChange, previous: Mapping[str, ContractRef]) -> None:
        """Apply a selection whose contracts are acquired, and release the previous one.

        Args:
            change: the change to the new selection.
            previous: the previous selection.
        """
        context, subscriber = self._context, self.subscriber
        live, self._live, self._next_live = self._live, self._next_live, None
        if live is not None:
            if subscriber is not None:
                context.live_selections.unwatch(live, subscriber)
            context.live_selections.close(live)
        else:
            context.upstream.release(change.removed if self._live is None else list(previous))
        self._added = ()
        if self._live is not None and subscriber is not None and self._request.status:
            context.live_selections.watch(self._live, subscriber)

    def _log_unknown(self, request: ControlRequest, change: SelectionChange) -> None:
        faults = {fault.contract for fault in change.faults if fault.error.startswith(UNKNOWN)}
        context, may_see = self._context, self._identity.may_see
        ids = map(str, request.contract_ids)
        for by, names in ((By.NAME, request.contract_names), (By.ID, ids)):
            if unknown := [name for name in map(str.strip, names) if name in faults]:
                registry = context.contract_cache.registry
                context.diagnostics.explain_unknown(by, unknown, registry, may_see)

    def _release_added(self) -> None:
        added, self._added = self._added, ()
        opened, self._next_live = self._next_live, None
        self._context.upstream.release(added)
        if opened is not None:
            self._context.live_selections.close(opened)

    def reject(
        self, error: str, request_id: str | int | None, action: Action | None = None
    ) -> None:
        """Answer a command that could not be carried out.

        Args:
            error: text of the error.
            request_id: id of the command; None without one.
            action: action of the command; None if it could not be read.
        """
        if self.subscriber is not None:
            fault, live = ControlFault(None, error), self._live
            text = answer(
                self._selection if live is None else live.named,
                [fault],
                request_id=request_id,
                action=action,
                filters=() if live is None else live.filters,
                matching=() if live is None else live.matching,
            )
            self._send(self.subscriber, text)

    def _send(self, subscriber: Subscriber, text: bytes) -> None:
        def make() -> bytes:
            timestamp = timestamp_of(
                self._context.market_clock.time_us(), self._context.zone
            ).encode()
            return wire.framed(wire.control_message(timestamp, text), subscriber.group.format)

        self._context.hub.send(subscriber, make, key=object())

    def close(self) -> None:
        """Leave the hub and release all contracts."""
        context, live = self._context, self._live
        acquired = self._added if live is not None else (*self._selection, *self._added)
        opened = self._next_live
        self._initial, self._added, self._live, self._next_live = {}, (), None, None
        if self.subscriber is not None:
            # Before the release: the state table closes only contracts without subscribers.
            context.hub.leave(self.subscriber)
            context.status_messages.remove(self.subscriber)
            if live is not None:
                context.live_selections.unwatch(live, self.subscriber)
            self.subscriber = None
        for each in (live, opened):
            if each is not None:
                context.live_selections.close(each)
        context.upstream.release(acquired)
