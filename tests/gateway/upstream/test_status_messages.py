"""Status messages: sent at once or after catching up, and encoded once where possible.

That a status names exactly what its client holds, whatever the order of things, is shown in
`test_hub_properties`.
"""

from __future__ import annotations

from datetime import UTC

import pytest

from ime_live.contracts import Market
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By, ContractRef
from ime_live.gateway.hub.delivery import CATCH_UP_BYTES
from ime_live.gateway.hub.delivery_options import DeliveryOptions
from ime_live.gateway.hub.subscriber import Subscriber
from ime_live.gateway.upstream.status_messages import StatusMessages
from ime_live.market import Update, timestamp_of
from ime_live.status import FeedState, FeedStatus, MarketStatus
from tests.support import hub_world
from tests.support.clock import GivenClock
from tests.support.frames import Message, Reader, Status
from tests.support.hub_world import NOW, A, B, sizes_of

FEED = FeedStatus(
    FeedState.LIVE,
    since=NOW - 5,
    last_board=NOW - 3,
    markets={
        Market.FUTURES: MarketStatus(FeedState.LIVE),
        Market.OPTION: MarketStatus(FeedState.CLOSED),
    },
)


class Writer(hub_world.Writer):
    """Tells the messages that have come since the test asked last."""

    def __init__(self, *, compressed: bool = False) -> None:
        super().__init__(compressed=compressed)
        self._reader = Reader(compressed=compressed)
        self._read = 0

    @property
    def news(self) -> list[Message | Status]:
        """The messages that have come since this was asked last."""
        new, self._read = self.writes[self._read :], len(self.writes)
        return [message for data in new for message in self._reader.read(data)]

    @property
    def status(self) -> Status:
        """The only message that has come since then."""
        [message] = self.news
        assert isinstance(message, Status)
        return message


class World(hub_world.World):
    """A hub with two contracts, and the status messages of its clients."""

    def __init__(self) -> None:
        super().__init__()
        self.feed: FeedStatus | None = FEED
        self.notified = 0
        self.status_messages = StatusMessages(
            self.hub,
            zone=UTC,
            clock=GivenClock(lambda: self.now),
            feed=lambda: self.feed,
            on_sent=self.count,
        )
        self.states.open("1")
        self.states.open("2")
        self.states.load("1", Update(NOW - 100, A))
        self.states.load("2", None)

    def count(self) -> None:
        self.notified += 1

    def join_by_name(
        self, *names: str, compressed: bool = False, current: bool = True, watches: bool = True
    ) -> tuple[Subscriber, Writer]:
        writer = Writer(compressed=compressed)
        selection = {name[-1]: ContractRef.of(By.NAME, name) for name in names}
        options = DeliveryOptions(format=wire.Format.DEFLATE if compressed else wire.Format.TEXT)
        client = self.hub.join(selection, writer, options)
        if watches:
            self.status_messages.add(client, current=current)
        return client, writer

    def tell(self, *current: str) -> None:
        for _ in self.status_messages.send(self.status_messages.groups, current):
            pass


@pytest.fixture
def world() -> World:
    return World()


def test_new_client_gets_a_status(world: World) -> None:
    _, writer = world.join_by_name("سکه1", "B,:2")
    assert writer.status == Status(
        feed="live",
        since=timestamp_of(NOW - 5, UTC),
        last_board=timestamp_of(NOW - 3, UTC),
        current=True,
        markets={"IMEFutures": "live", "IMEOption": "closed"},
        contracts={"سکه1": NOW - 100, "B,:2": None},
        timestamp=NOW,
    )
    assert world.notified == 1


def test_status_without_a_feed_has_no_state(world: World) -> None:
    world.feed = None
    _, writer = world.join_by_name("1", current=False)
    assert writer.status == Status(None, None, None, False, {}, {"1": NOW - 100}, NOW)
    world.feed = FeedStatus(FeedState.DOWN, since=NOW)
    world.tell("1")
    assert writer.status.last_board is None


def test_pending_updates_are_sent_before_the_status(world: World) -> None:
    _, writer = world.join_by_name("1")
    assert writer.news
    world.states.publish("1", NOW + 1, B)
    world.tell("1")
    update, status = writer.news
    assert isinstance(update, Message)
    assert isinstance(status, Status)
    assert status.contracts == {"1": update.version}


def test_only_compared_contracts_are_current(world: World) -> None:
    _, one = world.join_by_name("1")
    _, both = world.join_by_name("1", "2")
    assert (one.status.current, both.status.current) == (True, True)
    world.tell("1")
    assert (one.status.current, both.status.current) == (True, False)
    world.tell()
    assert (one.status.current, both.status.current) == (False, False)


def test_subscribers_of_a_group_share_the_status_frame(world: World) -> None:
    writers = [world.join_by_name("1", compressed=True)[1] for _ in range(3)]
    _, plain = world.join_by_name("1")
    world.now += 9
    world.tell("1")
    shared = {id(writer.writes[-1]) for writer in writers}
    assert len(shared) == 1
    for writer in (*writers, plain):
        *_, status = writer.news
        assert isinstance(status, Status)
        assert status.timestamp == NOW + 9
    assert plain.writes[-1] != writers[0].writes[-1]
    assert world.notified == 8


def test_status_is_sent_to_watching_clients_only(world: World) -> None:
    _, other = world.join_by_name("1", watches=False)
    client, writer = world.join_by_name("1")
    assert writer.status
    world.status_messages.remove(client)
    world.status_messages.remove(client)
    world.tell("1")
    assert not other.writes
    assert not writer.news
    assert not world.status_messages.groups


def test_paused_client_gets_one_present_status_after_its_catch_up(world: World) -> None:
    client, writer = world.join_by_name("1", "2")
    assert writer.status
    world.hub.pause(client)
    world.states.publish("1", NOW + 1, B)
    world.tell("1", "2")
    world.states.publish("2", NOW + 2, A)
    world.tell("1")
    world.states.publish("2", NOW + 3, B)
    assert (writer.news, world.notified) == ([], 1)
    world.now += 50
    world.feed = None
    world.hub.resume(client)
    one, two, status = writer.news
    assert isinstance(status, Status)
    assert isinstance(one, Message)
    assert isinstance(two, Message)
    assert status.contracts == {"1": one.version, "2": two.version} == {"1": NOW + 1, "2": NOW + 3}
    assert (status.timestamp, status.feed, status.current) == (NOW + 50, None, False)
    world.hub.pause(client)
    world.hub.resume(client)
    assert not writer.news


def test_status_message_reaches_a_client_that_catches_up(world: World) -> None:
    # It came while the store was away; status messages are sent in the tick in which it is back.
    names = [f"A{n:03}" for n in range(100, 300)]
    writer = Writer()
    for name in names:
        world.states.open(name)
    client = world.hub.join({name: ContractRef.of(By.ID, name) for name in names}, writer)
    world.hub.send_states(client)
    world.status_messages.add(client, current=False)
    assert writer.news
    for n, name in enumerate(names):
        world.states.load(name, Update(NOW + n, A))
    assert writer.news == []
    world.tell(*names)
    *slices, status = writer.writes[1:]
    assert len(slices) > 1
    message = len(slices[0]) // slices[0].count(b"IME Stream")
    assert all(len(each) < CATCH_UP_BYTES + 2 * message for each in slices)
    *messages, last = writer.news
    assert [m.contract for m in messages if isinstance(m, Message)] == names  # each once
    assert isinstance(last, Status)
    assert status == writer.writes[-1]
    assert last.contracts == {name: NOW + n for n, name in enumerate(names)}
    assert last.current


def test_status_does_not_name_an_equal_state_that_was_not_sent(world: World) -> None:
    client, writer = world.join_by_name("1")
    _, quick = world.join_by_name("1")
    version = NOW
    for _ in range(2):  # the second time, what it knew before is a state that it was not sent
        world.hub.pause(client)
        for state in (B, A):
            version += 1
            world.states.publish("1", version, state)
            world.hub.flush()
        world.hub.resume(client)
    # It came after the first state, so it has that one only if it was sent it.
    world.states.publish("1", version + 1, B)
    world.tell("1")
    for each in (writer, quick):
        *_, update, status = each.news
        assert isinstance(update, Message)
        assert isinstance(status, Status)
        assert status.contracts == {"1": update.version}
    sent = version + 1
    world.hub.pause(client)
    for state in (A, B, A, B):
        version += 2
        world.states.publish("1", version, state)
        world.hub.flush()
    world.hub.resume(client)
    world.tell("1")
    assert writer.status.contracts == {"1": sent}
    *_, last = quick.news
    assert isinstance(last, Status)
    assert last.contracts == {"1": version}
    world.states.publish("1", version + 1, A)
    world.tell("1")
    *_, last = writer.news
    assert isinstance(last, Status)
    assert last.contracts == {"1": version + 1}
    assert "_known_as" not in sizes_of(client)


def test_failing_client_does_not_affect_the_status_of_others(world: World) -> None:
    client, broken = world.join_by_name("1")
    _, writer = world.join_by_name("1")
    assert writer.status
    broken.error = OSError("gone")
    world.tell("1")
    assert [failed for failed, _ in world.failures] == [client]
    assert writer.status
    notified = world.notified
    world.tell("1")  # before its connection has ended
    assert writer.status
    assert world.notified == notified + 1


def test_status_yields_to_the_event_loop_after_each_group(world: World) -> None:
    _, one = world.join_by_name("1")
    _, two = world.join_by_name("2")
    leaving, third = world.join_by_name("1", "2")
    assert one.news
    assert two.news
    assert third.news
    turns = world.status_messages.send(world.status_messages.groups, ())
    next(turns)
    assert (len(one.news), len(two.news)) == (1, 0)
    world.hub.leave(leaving)
    world.status_messages.remove(leaving)
    for _ in turns:
        pass
    assert (len(one.news), len(two.news), len(third.news)) == (0, 1, 0)
