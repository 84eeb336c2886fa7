"""Checker of one client's history against the invariants; no I/O.

The events of a client are passed in as they happen, and each broken invariant is reported at once
unless it depends on the store. Those that do wait for later samples of the store: whether the
client holds the newest states (`missing`), whether the store was as a status said, and whether it
has lost what the client was sent before (`check`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from chaos.invariants import CLAIM_LIMIT, Invariant, Violation
from chaos.states import Data, number_in, returns
from chaos.timeline import MICROSECONDS, Held, Loss, State, Stored, Timeline, equal

_SLACK: Final = 0.5
"""Seconds after which a state that a ``max_rate`` has held back must have arrived."""

_RECENT: Final = 600  # events per client that are kept for a report


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


class Doubt(Struct, frozen=True):
    """A message that is right only if the store has lost what the client was sent before.

    Attributes:
        violation: what it is otherwise.
        before: the state of that contract that was sent before.
        now: the message.
    """

    violation: Violation
    before: Held
    now: Held


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
        self._sent: dict[str, dict[str, Held]] = {}
        """The newest state that each gateway has sent, by gateway and contract."""
        self._gateway = ""
        self._since: int | None = None
        self._opened = 0
        self._doubts: list[Doubt] = []
        self._repeated: set[tuple[str, Loss]] = set()
        """Contracts and losses after which an equal state has come again: once each."""
        self._claims: list[Claim] = []

    def opened(self, at: int, gateway: str, since: int | None = None) -> None:
        """Note that the client has connected: every later change must reach it.

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
        """Note that a gateway has refused the client temporarily.

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
        """Note that the connection has ended.

        Args:
            at: when.
            reason: code and reason of the close.
            expected: whether the gateway was killed or stopped.
        """
        self.connected = False
        self._note(at, f"closed: {reason}")
        if not expected:
            self._break(Invariant.CONNECTED, "", f"closed: {reason}")

    def state(self, at: int, contract_id: str, version: int, data: Data) -> None:
        """Note that the client has received a state.

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
        now = Held(version, data, at)
        if fault := self._fault_of(contract_id, version):
            self._break(Invariant.GROWS, contract_id, fault)
        elif doubt := self._doubt_of(contract_id, now):
            self._doubts.append(doubt)
        sent = self._sent.setdefault(self._gateway, {})
        if contract_id not in sent or version > sent[contract_id].version:
            sent[contract_id] = now
        self._received[contract_id] = now
        if self.options.resumes and held is not None and version <= held.version:
            return  # since= names the oldest of its states: the client drops those it has
        last = held if self.options.resumes else received
        if last is not None and data == last.data:
            same_connection = received is not None and not self.options.blind
            text = f"{_text_of(data)} again at {version}"
            if same_connection:
                self._break(Invariant.CHANGED, contract_id, text)
            elif not self._repeats(data):
                violation = Violation(Invariant.CHANGED, self.name, contract_id, text)
                self._doubts.append(Doubt(violation, last, now))
        self.held[contract_id] = now
        if self.options.max_rate:
            latest = at - (1 / self.options.max_rate + _SLACK) * MICROSECONDS
            for claim in self._claims:
                if claim.said > latest:
                    claim.waiting.setdefault(contract_id, now)

    def _fault_of(self, contract_id: str, version: int) -> str:
        """Return the fault of a version that no loss of the store explains, or nothing."""
        received = self._received.get(contract_id)
        if received is not None and version <= received.version:
            return f"{version} after {received.version}"
        if self._since is not None and version <= self._since:
            return f"{version} to a client that named {self._since}"
        return ""

    def _doubt_of(self, contract_id: str, now: Held) -> Doubt | None:
        """Doubt about the version of a message."""
        sent = self._sent.get(self._gateway, {}).get(contract_id)
        held = self.held.get(contract_id)
        if sent is not None and now.version < sent.version:
            before = sent
            text = f"{now.version} from {self._gateway}, which had sent {sent.version} before"
        elif held is not None and now.version == held.version and now.data != held.data:
            before = held
            was = _text_of(held.data)
            text = f"{_text_of(now.data)} at {now.version}, which was {was} before"
        else:
            return None
        return Doubt(Violation(Invariant.GROWS, self.name, contract_id, text), before, now)

    def _repeats(self, data: Data) -> bool:
        """Whether a resumption may bring a state again although the store has lost nothing."""
        if self.options.sections:
            return True
        return returns(number_in(data))  # the contract may have been in another one meanwhile

    def status(self, at: int, said: int, named: Mapping[str, int | None], *, current: bool) -> None:
        """Note that the client has received a status message.

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

    def check(self, timeline: Timeline) -> None:
        """Check what depends on the store, each event once.

        Args:
            timeline: the store's states. Events from after its last sample wait for the next call.
        """
        self._check_doubts(timeline)
        self._check_claims(timeline)

    def _check_doubts(self, timeline: Timeline) -> None:
        waiting = []
        for doubt in self._doubts:
            if self._is_explained(doubt, timeline):
                continue
            if timeline.covers(doubt.now.at, doubt.violation.contract):
                self._break(
                    doubt.violation.invariant, doubt.violation.contract, doubt.violation.text
                )
            else:
                waiting.append(doubt)
        self._doubts = waiting

    def _is_explained(self, doubt: Doubt, timeline: Timeline) -> bool:
        """Whether the store may have lost what was sent before the message."""
        contract_id, before, now = doubt.violation.contract, doubt.before, doubt.now
        losses = timeline.losses(contract_id, before.version)
        if doubt.violation.invariant is Invariant.GROWS:
            if timeline.went_back(contract_id, before.version):
                return True
            # Versions grow in an emptied store, too, unless its history is another one.
            return any(loss.history and loss.begun <= now.at for loss in losses)
        for loss in losses:
            if loss.before < now.version and (contract_id, loss) not in self._repeated:
                self._repeated.add((contract_id, loss))
                return True
        return False

    def _check_claims(self, timeline: Timeline) -> None:
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

    def missing(
        self, newest: Mapping[str, Stored], timeline: Timeline, moved: Mapping[str, int]
    ) -> Iterator[Violation]:
        """Find contracts of which the client should hold the newest state and does not.

        Args:
            newest: the store's states.
            timeline: its states until now.
            moved: when the market came into its present state, by contract.

        Yields:
            A violation per contract; none of them is reported.
        """
        only_changes = not self.options.snapshot and not self.options.resumes
        for contract_id in self.options.contracts:
            held, stored = self.held.get(contract_id), newest.get(contract_id)
            if stored is None or equal(stored, held):
                continue
            if only_changes and not self._is_owed(contract_id, stored, timeline, moved):
                continue
            text = f"it holds {_text_of_state(held)}, the newest is {_text_of_state(stored)}"
            yield Violation(Invariant.NEWEST, self.name, contract_id, text)

    def _is_owed(
        self, contract_id: str, newest: Stored, timeline: Timeline, moved: Mapping[str, int]
    ) -> bool:
        """Whether a client that gets only changes must have got the newest state."""
        if contract_id in self._received:
            return True
        if newest.version <= self._opened:
            return False
        since = moved.get(contract_id, 0)
        if since <= self._opened and any(timeline.losses(contract_id, since)):
            return False  # the gateway may have had it before, so that it is no change
        return timeline.changed(contract_id, newest, self._opened)

    def _break(self, invariant: Invariant, contract_id: str, text: str) -> None:
        self.recent.append(f"VIOLATION: {invariant}: {contract_id} {text}")
        self._report(Violation(invariant, self.name, contract_id, text))

    def _note(self, at: int, text: str) -> None:
        self.recent.append(f"{at} {text}")


def _text_of_state(state: State | None) -> str:
    return "nothing" if state is None else f"{state.version} {_text_of(state.data)}"


def _text_of(data: Data) -> str:
    """The number of a state, or the part of it that its sections carry."""
    if "BestLimit" in data:
        return str(number_in(data))
    return ", ".join(
        f"{section} {values.get('trade_count', values.get('open_interest'))}"
        for section, values in data.items()
    )
