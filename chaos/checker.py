"""Checker of one client's history against the invariants; no I/O.

The events of a client are passed in as they happen, and each broken invariant is reported at once.
Two invariants need to know the store: whether the client holds the newest states (`missing`), and
whether the store was as a status said (`check_claims`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from chaos.states import Data, number_in, returns
from chaos.timeline import MICROSECONDS, Held, Stored, Timeline, equal

CLAIM_LIMIT: Final = 2.0
"""Seconds for which a status may say ``current: true`` although the store differs."""

_SLACK: Final = 0.5
"""Seconds after which a state that a ``max_rate`` has held back must have arrived."""

_CONFIRMED: Final = 20 * MICROSECONDS
"""Microseconds after a loss of data, or less, in which all states are confirmed again. The first
confirmation gives a new version."""

_RECENT: Final = 600  # events per client that are kept for a report


class Invariant(StrEnum):
    """A property that must hold whatever breaks."""

    NEWEST = "each client ends with the newest state of each of its contracts"
    GROWS = "the timestamps of a contract grow"
    CHANGED = "a client never receives an equal state twice in a row"
    CONNECTED = "a fault disconnects no client but those of a gateway that was killed or stopped"
    CURRENT = f"no status says current: true after the store has differed for {CLAIM_LIMIT:g} s"
    NAMED = "a status names the last message of each contract"
    PROVEN = "after a fault, status messages say current: true again"
    REST = "plain HTTP answers with the newest states"
    RUNS = "no process ends unless it is told to, and then with exit status 0"
    STORED = "the store ends with the state that was published last"


class Violation(Struct, frozen=True):
    """A broken invariant.

    Attributes:
        invariant: which one.
        client: the client, or the process, that shows it.
        contract: the contract; empty if it is about no single one.
        text: the details.
    """

    invariant: Invariant
    client: str
    contract: str
    text: str


class ClientOptions(Struct, frozen=True):
    """The options of a client that decide which messages it may receive.

    Attributes:
        contracts: ids of its selection.
        snapshot: each connection begins with the present states.
        resumes: the client names what it has received, and drops what is not newer.
        sections: the sections it asks for; empty for all.
        max_rate: the messages a second and contract that it asks for; 0 for all.
        blind: its reconnections cannot be seen.
    """

    contracts: tuple[str, ...]
    snapshot: bool = False
    resumes: bool = False
    sections: tuple[str, ...] = ()
    max_rate: float = 0.0
    blind: bool = False


class Claim(Struct, frozen=True):
    """A status that said ``current: true``.

    Attributes:
        said: its timestamp.
        held: the states that the client held, by contract.
        waiting: states that a ``max_rate`` held back at the time, by contract. The gateway had
            them, so it may have meant these.
    """

    said: int
    held: Mapping[str, Held | None]
    waiting: dict[str, Held]


class ClientChecker:
    """The history of one client. All times are microseconds since the epoch.

    Attributes:
        options: of the client.
        held: the newest state that it has received of each contract.
        connected: whether it is connected.
        current_at: timestamp of the last status that said ``current: true``.
        recent: its last events as text.
    """

    def __init__(
        self, name: str, options: ClientOptions, report: Callable[[Violation], None]
    ) -> None:
        """Begin a history.

        Args:
            name: of the client, for reports.
            options: of the client.
            report: called with each violation.
        """
        self.name = name
        self.options = options
        self.held: dict[str, Held] = {}
        self.connected = False
        self.current_at = 0
        self.recent: deque[str] = deque(maxlen=_RECENT)
        self._report = report
        self._received: dict[str, Held] = {}
        """The last message of each contract on the present connection."""
        self._sent: dict[str, dict[str, int]] = {}
        """The greatest version that each gateway has sent, by gateway and contract."""
        self._gateway = ""
        self._since: int | None = None
        self._opened = 0
        self._losing = False
        """Whether the store may lose states just now."""
        self._lost_at = 0
        """When it may have lost states last."""
        self._may_repeat: set[str] = set()
        """Contracts whose state the store may have lost, and got again with a new version."""
        self._claims: list[Claim] = []

    def opened(self, at: int, gateway: str, since: int | None = None) -> None:
        """The client has connected: every later change must reach it.

        Args:
            at: when.
            gateway: its name, another one each time it is started.
            since: the version that the client named, so that it is sent nothing older.
        """
        self._opened = at
        self._received = {}
        self._gateway = gateway
        self._since = since
        self.connected = True
        self._note(at, f"connected to {gateway}{'' if since is None else f', since {since}'}")

    def refused(self, at: int, reason: str, *, expected: bool) -> None:
        """A gateway has refused to serve the client for now.

        Args:
            at: when.
            reason: as the gateway said it.
            expected: whether a fault is going on.
        """
        self.connected = False
        self._note(at, f"refused: {reason}")
        if not expected:
            self._break(Invariant.CONNECTED, "", f"refused without a fault: {reason}")

    def closed(self, at: int, reason: str, *, expected: bool) -> None:
        """The connection has ended.

        Args:
            at: when.
            reason: code and reason of the close.
            expected: whether the gateway was killed or stopped.
        """
        self.connected = False
        self._note(at, f"closed: {reason}")
        if not expected:
            self._break(Invariant.CONNECTED, "", f"closed: {reason}")

    def store_loses_data(self) -> None:
        """From now until `settled`, the store may lose states once.

        Publishers give equal ones new versions then, so that each may come once more.
        """
        self._losing = True
        self._may_repeat.update(self.options.contracts)

    def may_repeat(self, at: int, contract_id: str) -> None:
        """From now on, the store may give a contract's state a new version without a change."""
        self._lost_at = at
        if contract_id in self.options.contracts:
            self._may_repeat.add(contract_id)

    def settled(self, at: int, newest: Mapping[str, Stored | None]) -> None:
        """A fault is over, and the gateways have proven that they follow the store.

        Args:
            at: when.
            newest: the store's states. Those whose version the client holds when all of them have
                been confirmed cannot come again.
        """
        if self._losing:
            self._lost_at = at
            self._sent.clear()
        self._losing = False
        if at - self._lost_at < _CONFIRMED:
            return
        for contract_id in list(self._may_repeat):
            held, stored = self.held.get(contract_id), newest.get(contract_id)
            if stored is not None and held is not None and stored.version == held.version:
                self._may_repeat.discard(contract_id)

    def state(self, at: int, contract_id: str, version: int, data: Data) -> None:
        """The client has received a state.

        Args:
            at: when.
            contract_id: the contract.
            version: the message's timestamp.
            data: the state, or some sections of it.
        """
        received, held = self._received.get(contract_id), self.held.get(contract_id)
        self._note(at, f"{contract_id} {version} {_text_of(data)}")
        if contract_id not in self.options.contracts:
            self._break(Invariant.NAMED, contract_id, "the contract was not asked for")
        if fault := self._fault_of(contract_id, version, data):
            self._break(Invariant.GROWS, contract_id, fault)
        sent = self._sent.setdefault(self._gateway, {})
        sent[contract_id] = max(version, sent.get(contract_id, 0))
        self._received[contract_id] = now = Held(version, data, at)
        if self.options.resumes and held is not None and version <= held.version:
            return  # since= names the oldest of its states: the client drops those it has
        last = held if self.options.resumes else received
        repeated = last is not None and data == last.data
        same_connection = received is not None and not self.options.blind
        if repeated and (same_connection or not self._repeats(contract_id, data)):
            self._break(Invariant.CHANGED, contract_id, f"{_text_of(data)} again at {version}")
        self.held[contract_id] = now
        if self.options.max_rate:
            latest = at - (1 / self.options.max_rate + _SLACK) * MICROSECONDS
            for claim in self._claims:
                if claim.said > latest:
                    claim.waiting.setdefault(contract_id, now)
        if repeated or not self._losing:  # what came before the loss may come again after it
            self._may_repeat.discard(contract_id)

    def _fault_of(self, contract_id: str, version: int, data: Data) -> str:
        """What is wrong with the version of a message; empty if nothing."""
        received, held = self._received.get(contract_id), self.held.get(contract_id)
        if received is not None and version <= received.version:
            return f"{version} after {received.version}"
        if self._since is not None and version <= self._since:
            return f"{version} to a client that named {self._since}"
        if self._losing:
            return ""
        sent = self._sent.get(self._gateway, {}).get(contract_id, 0)
        if version < sent:
            return f"{version} from {self._gateway}, which had sent {sent} before"
        if held is not None and version == held.version and data != held.data:
            return f"{_text_of(data)} at {version}, which was {_text_of(held.data)} before"
        return ""

    def _repeats(self, contract_id: str, data: Data) -> bool:
        """Whether a resumption may bring a state again that the client has."""
        if self.options.sections or contract_id in self._may_repeat:
            return True
        return returns(number_in(data))  # the contract may have been in another one meanwhile

    def status(self, at: int, said: int, named: Mapping[str, int | None], *, current: bool) -> None:
        """The client has received a status message.

        Args:
            at: when.
            said: its timestamp.
            named: the version that it names, by contract.
            current: what it says.
        """
        self._note(at, f"status of {said}, current: {current}")
        if self.options.snapshot and not self.options.resumes:
            for contract_id in self.options.contracts:
                received = self._received.get(contract_id)
                version = None if received is None else received.version
                if named.get(contract_id) != version:
                    self._break(
                        Invariant.NAMED,
                        contract_id,
                        f"the status names {named.get(contract_id)}, the last message is {version}",
                    )
        if current:
            self.current_at = max(self.current_at, said)
            known = self.held if self.options.resumes else self._received
            held = {i: known.get(i) for i in self.options.contracts}
            self._claims.append(Claim(said, held, {}))

    def check_claims(self, timeline: Timeline) -> None:
        """Check the status messages that said ``current: true``, each once.

        Args:
            timeline: the store's states. Messages from after its last sample wait for the next
                call.
        """
        claims = [claim for claim in self._claims if timeline.covers(claim.said)]
        self._claims = [claim for claim in self._claims if not timeline.covers(claim.said)]
        for claim in claims:
            for contract_id, held in claim.held.items():
                if held is None and not (self.options.snapshot or self.options.resumes):
                    continue  # the contract's state is older than the connection
                seconds = timeline.difference(contract_id, held, claim.said)
                if contract_id in claim.waiting:
                    waiting = claim.waiting[contract_id]
                    seconds = min(seconds, timeline.difference(contract_id, waiting, claim.said))
                if seconds > CLAIM_LIMIT:
                    self._break(
                        Invariant.CURRENT,
                        contract_id,
                        f"current: true at {claim.said}, the client held {_text_of_state(held)}, "
                        f"the store had differed for {seconds:.1f} s",
                    )

    def missing(self, newest: Mapping[str, Stored], timeline: Timeline) -> Iterator[Violation]:
        """Find contracts of which the client should hold the newest state and does not.

        Args:
            newest: the store's states.
            timeline: its states until now.

        Yields:
            A violation per contract; none of them is reported.
        """
        only_changes = not self.options.snapshot and not self.options.resumes
        for contract_id in self.options.contracts:
            held, stored = self.held.get(contract_id), newest.get(contract_id)
            if stored is None or equal(stored, held):
                continue
            published = stored.version > self._opened  # while the client has been connected
            sent = contract_id in self._received or (
                published and timeline.changed(contract_id, stored, self._opened)
            )
            if only_changes and not sent:
                continue
            text = f"it holds {_text_of_state(held)}, the newest is {_text_of_state(stored)}"
            yield Violation(Invariant.NEWEST, self.name, contract_id, text)

    def _break(self, invariant: Invariant, contract_id: str, text: str) -> None:
        self.recent.append(f"VIOLATION: {invariant}: {contract_id} {text}")
        self._report(Violation(invariant, self.name, contract_id, text))

    def _note(self, at: int, text: str) -> None:
        self.recent.append(f"{at} {text}")


def _text_of_state(state: Stored | None) -> str:
    return "nothing" if state is None else f"{state.version} {_text_of(state.data)}"


def _text_of(data: Data) -> str:
    """The number of a state, or the part of it that its sections carry."""
    if "BestLimit" in data:
        return str(number_in(data))
    return ", ".join(
        f"{section} {values.get('trade_count', values.get('open_interest'))}"
        for section, values in data.items()
    )
